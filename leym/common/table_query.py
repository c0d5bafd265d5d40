"""Filters, sorts and aggregates tables of NumPy columns, chunk by chunk where the whole table is not needed.

A table is a dict of arrays of equal length. Numbers are int64 or float64, where NaN stands for a missing value; text is
an object array of str, where None stands for a missing value, or bytes of ASCII.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Columns = dict[str, NDArray[Any]]

GROUP_SIZE = "members"  # column of an aggregated table: rows of the group
AGGREGATES = ("mean", "sd", "min", "max", "median", "count")
QUANTILE = re.compile(r"q([0-9]{2,3})")  # q05 is the quantile of 0.05, q975 that of 0.975
_CONDITION = re.compile(r"([^<>=!]+)(<=|>=|!=|<|>|==?)(.*)", re.DOTALL)
_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "=": operator.eq,
    "!=": operator.ne,
}


@dataclass(frozen=True)
class Condition:
    """A condition on one column, such as `gamma>=0.01` or `state=succeeded`.

    A missing value meets no condition but `NAME=` (it is missing); `NAME!=` keeps the rows that have a value.

    Attributes:
        column: name of the column.
        compare: one of `<`, `<=`, `>`, `>=`, `=`, `!=`.
        value: text of the value; empty for a missing one.
    """

    column: str
    compare: str
    value: str

    @classmethod
    def parse(cls, text: str) -> Condition:
        """Parse a condition. Raises ValueError."""
        found = _CONDITION.fullmatch(text)
        if not found:
            raise ValueError(
                f"filter {text!r}: write NAME=VALUE, NAME!=VALUE, or NAME with <, <=, > or >= and a number"
            )
        compare = "=" if found[2] == "==" else found[2]
        return cls(found[1].strip(), compare, found[3].strip())

    def rows(self, table: Columns) -> NDArray[np.bool_]:
        """Return which rows meet the condition: bool [n].

        Raises:
            ValueError: there is no such column, or its values cannot be compared with this value.
        """
        values = table[_known(self.column, table, "filter")]
        there = present(values)
        if not self.value and self.compare in ("=", "!="):
            return there if self.compare == "!=" else ~there
        if is_text(values):
            if self.compare not in ("=", "!="):
                raise ValueError(f"filter {self.column}{self.compare}{self.value}: text has = and != only")
            equal = values == (self.value if values.dtype == object else self.value.encode())
            met = equal if self.compare == "=" else ~equal
        else:
            met = _COMPARE[self.compare](values, _number(self.column, self.value))
        return np.asarray(there & met, bool)


@dataclass(frozen=True)
class Query:
    """The rows and columns to return of a table; a new one returns it as it is.

    Attributes:
        filters: conditions that a row must meet, all of them.
        sort: column to sort by; equal rows keep their order, and missing values come last.
        descending: largest first.
        aggregate: statistics to compute per group: AGGREGATES, or quantiles such as `q05`.
        by: columns whose equal values make a group, for `aggregate`.
        values: columns to aggregate.
    """

    filters: tuple[Condition, ...] = ()
    sort: str | None = None
    descending: bool = False
    aggregate: tuple[str, ...] = ()
    by: tuple[str, ...] = ()
    values: tuple[str, ...] = ()

    def run(self, chunks: Iterable[Columns]) -> Iterator[Columns]:
        """Yield the result in chunks. A filter keeps one chunk in memory; the others need all columns that they use.

        Args:
            chunks: pieces of one table, all with the same columns.

        Raises:
            ValueError: a column does not exist, or does not have the values that are needed.
        """
        kept: Iterable[Columns] = (_take(chunk, self.filters) for chunk in chunks)
        if self.aggregate:
            needed = dict.fromkeys((*self.by, *self.values))
            parts = [{name: part[_known(name, part, "aggregate")] for name in needed} | _size_of(part) for part in kept]
            whole = joined(parts)
            kept = [aggregated(whole, self.by, self.values, self.aggregate)] if whole else []
        if self.sort is None:
            yield from kept
            return
        whole = joined(list(kept))
        if whole:
            yield ordered(whole, self.sort, self.descending)


def is_text(values: NDArray[Any]) -> bool:
    """Return True for a column of text."""
    return values.dtype.kind in "OUS"


def present(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which values are not missing: bool [n]."""
    if values.dtype == object:
        return np.array([value is not None for value in values], bool)
    return ~np.isnan(values) if values.dtype.kind == "f" else np.ones(len(values), bool)


def joined(parts: Sequence[Columns]) -> Columns:
    """Return chunks with the same columns as one table; an empty dict of none."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]} if parts else {}


def ordered(table: Columns, column: str, descending: bool = False) -> Columns:
    """Return the rows sorted by a column: stable, with missing values last. Raises ValueError if it does not exist."""
    values = table[_known(column, table, "sort")]
    there = present(values)
    rows = np.flatnonzero(there)
    found = values[rows]
    # Sorting text as codes, and descending numbers by codes too: a negated int64 could overflow.
    codes = np.unique(found.astype(str) if found.dtype == object else found, return_inverse=True)[1]
    order = np.argsort(-codes if descending else codes, kind="stable")
    chosen = np.concatenate([rows[order], np.flatnonzero(~there)])
    return {name: values[chosen] for name, values in table.items()}


def aggregated(table: Columns, by: Sequence[str], values: Sequence[str], statistics: Sequence[str]) -> Columns:
    """Return one row per group, in the order in which the groups appear.

    Args:
        table: the rows; missing values do not count.
        by: columns whose equal values make a group; none makes one group of all rows.
        values: columns of numbers.
        statistics: AGGREGATES, or quantiles such as `q05`. `sd` is that of a sample (n - 1).

    Returns:
        The columns `by`, the number of rows as `members`, and `VALUE.STATISTIC` for each value and statistic; a
        statistic without enough values is NaN.

    Raises:
        ValueError: a statistic or column does not exist, or a column of `values` is text.
    """
    for name in statistics:
        if name not in AGGREGATES and not QUANTILE.fullmatch(name):
            raise ValueError(f"aggregate {name!r} is unknown; known: {', '.join(AGGREGATES)}, and quantiles as q05")
    rows = len(next(iter(table.values()))) if table else 0
    group, first = np.zeros(rows, np.int64), np.zeros(min(rows, 1), np.int64)
    for name in by:
        keys = table[_known(name, table, "over")]
        codes = np.unique(keys.astype(str) if keys.dtype == object else keys, return_inverse=True)[1]
        _, first, group = np.unique(group * (int(codes.max(initial=0)) + 1) + codes, True, True)
    appearance = np.argsort(np.argsort(first))
    group, first = appearance[group], np.sort(first)
    found: Columns = {name: table[name][first] for name in by}
    found[GROUP_SIZE] = np.bincount(group, minlength=len(first))
    for name in values:
        column = table[_known(name, table, "value")]
        if is_text(column):
            raise ValueError(f"value {name!r} is text: only numbers can be aggregated")
        there = present(column)
        for statistic, result in _statistics(column[there], group[there], len(first), statistics).items():
            found[f"{name}.{statistic}"] = result
    return found


def _statistics(
    values: NDArray[Any], group: NDArray[np.int64], groups: int, wanted: Sequence[str]
) -> dict[str, NDArray[Any]]:
    """Return each wanted statistic per group: float64 [groups], `count` int64."""
    order = np.lexsort((values, group))
    values, group = values[order].astype(np.float64), group[order]
    count = np.bincount(group, minlength=groups)
    start = np.cumsum(count) - count
    filled = count > 0

    def where_filled(result: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.where(filled, result, np.nan)

    def at(position: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the value at a position within each sorted group, interpolated between its neighbours."""
        low = np.floor(position).astype(np.int64)
        high = np.minimum(low + 1, count - 1)
        padded = np.append(values, np.nan)
        lower, upper = padded[np.where(filled, start + low, -1)], padded[np.where(filled, start + high, -1)]
        with np.errstate(invalid="ignore"):  # between infinite values, which the condition leaves out
            between = lower + (upper - lower) * (position - low)
        return np.where((lower == upper) | (position == low), lower, between)

    safe = np.maximum(count, 1)
    mean = np.bincount(group, values, groups) / safe
    found: dict[str, NDArray[Any]] = {}
    for name in wanted:
        if name == "count":
            found[name] = count
        elif name == "mean":
            found[name] = where_filled(mean)
        elif name == "sd":
            with np.errstate(invalid="ignore"):  # of infinite values it is NaN
                squares = np.bincount(group, (values - mean[group]) ** 2, groups)
            found[name] = np.where(count > 1, np.sqrt(squares / np.maximum(count - 1, 1)), np.nan)
        else:
            digits = {"min": "0", "median": "5", "max": ""}.get(name, name[1:])
            share = float(f"0.{digits}") if digits else 1.0
            found[name] = at(share * np.maximum(count - 1, 0))
    return found


def _take(chunk: Columns, filters: Sequence[Condition]) -> Columns:
    if not filters:
        return chunk
    rows = np.logical_and.reduce([condition.rows(chunk) for condition in filters])
    return {name: values[rows] for name, values in chunk.items()}


def _size_of(chunk: Columns) -> Columns:
    """Return a column that keeps the number of rows where a query needs no column."""
    rows = len(next(iter(chunk.values()))) if chunk else 0
    return {"": np.zeros(rows, np.int8)}


def _known(name: str, table: Columns, where: str) -> str:
    if name not in table:
        raise ValueError(f"{where} {name!r}: there is no such column; there are {', '.join(filter(None, table))}")
    return name


def _number(column: str, text: str) -> int | float:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    raise ValueError(f"filter on {column!r}: {text!r} is not a number")
