"""The table of a sweep: its columns, and queries on them as the API takes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from leym.common.table_query import Columns, Condition, Query

MEMBER_COLUMNS = ("index", "id", "state", "step", "steps", "stopped_at", "error")
AVERAGED = "seed"  # axis to aggregate over, if none is named


def axis_name(key: str) -> str:
    """Return the name of an axis's column: its key, with `axis.` before it where a member has a column of that name."""
    return f"axis.{key}" if key in MEMBER_COLUMNS else key


def member_table(
    members: Mapping[str, NDArray[Any]], axes: Mapping[str, NDArray[Any]], observables: Mapping[str, NDArray[Any]]
) -> Columns:
    """Return the columns of members of a sweep in their order, under unique names.

    Args:
        members: MEMBER_COLUMNS, as far as they are known; `stopped_at` is NaN for a member that was not stopped.
        axes: values per key of a JobSpec.
        observables: last values per name, float64; NaN where there are none.
    """
    own = {name: members[name] for name in MEMBER_COLUMNS if name in members}
    return own | {axis_name(key): values for key, values in axes.items()} | dict(observables)


def table_query(
    axes: Sequence[str],
    observables: Sequence[str],
    *,
    filters: Sequence[str] = (),
    sort: str | None = None,
    descending: bool = False,
    aggregate: Sequence[str] = (),
    over: Sequence[str] | None = None,
    values: Sequence[str] = (),
) -> Query:
    """Make the query of a sweep's table.

    Args:
        axes: keys of the sweep's axes.
        observables: names of its observables.
        filters: conditions, such as `gamma>=0.01` and `state=succeeded`.
        sort: column to sort by; of an aggregated table for example `activity.mean`.
        descending: largest first.
        aggregate: statistics per point of the axes that are not in `over`.
        over: axes to aggregate over; default: `seed`, if it is an axis.
        values: observables to aggregate; default: all.

    Raises:
        ValueError: a filter cannot be parsed, or `over` names no axis, or `over` or `values` is given without
            `aggregate`.
    """
    if not aggregate and (over or values):
        raise ValueError("over and value belong to aggregate, such as aggregate=mean,sd")
    names = [axis_name(key) for key in axes]
    averaged = [axis_name(key) for key in ([AVERAGED] if over is None else over)]
    for name in () if over is None else averaged:
        if name not in names:
            raise ValueError(f"over {name!r} is no axis of the sweep; its axes are {', '.join(names)}")
    return Query(
        tuple(map(Condition.parse, filters)),
        sort,
        descending,
        tuple(aggregate),
        tuple(name for name in names if name not in averaged),
        tuple(values or observables),
    )
