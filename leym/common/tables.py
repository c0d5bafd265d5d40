"""Tables as CSV or TSV, and the rows of a sweep as flat columns."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def delimited(rows: Iterable[Sequence[Any]], delimiter: str = ",") -> str:
    """Format rows as CSV (RFC 4180, but with LF line ends), or as TSV with another delimiter.

    Numbers read back exactly, None is an empty cell, and mappings and lists are JSON text. Only cells that need it are
    quoted.
    """
    lines = _Lines()
    # csv quotes the characters of its line terminator. If that had no CR, Python 3.11 would leave a bare CR unquoted,
    # and readers would take it for the end of the line.
    csv.writer(lines, delimiter=delimiter, lineterminator=_Lines.END).writerows(map(_scalar, row) for row in rows)
    return "".join(lines.written)


class _Lines:
    """Output of `csv.writer`, which calls `write` once per row; turns CRLF line ends into LF."""

    END = "\r\n"

    def __init__(self) -> None:
        self.written: list[str] = []

    def write(self, line: str) -> None:
        self.written.append(line.removesuffix(self.END) + "\n")


def flat_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """Flatten a row of a sweep's table: the keys of the job, then its axes, then its observables.

    Column names are unique: the only axis that shares its name with a key of the job is `steps`, and both have the
    same value.

    Args:
        row: `id`, `state`, `step`, `steps`, and the mappings `point` and `observables`.

    Returns:
        Numbers and text by column; mappings and lists are JSON text.
    """
    own = {key: value for key, value in row.items() if key not in ("point", "observables")}
    return {**own, **{axis: _scalar(value) for axis, value in row["point"].items()}, **row["observables"], **own}


def columns_of(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the columns of all rows in order of appearance; jobs without observables have fewer than others."""
    return list(dict.fromkeys(column for row in rows for column in row))


def _scalar(value: Any) -> Any:
    """Return a value that fits into a cell: mappings and lists as JSON text."""
    return json.dumps(value) if isinstance(value, dict | list) else value
