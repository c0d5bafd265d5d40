"""Chooses the members of a sweep that are checked in place of all of them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import numpy as np

from leym.contract.axes import Values
from leym.contract.sweep_plan import SweepPlan


def coupled_axes(plan: SweepPlan) -> list[str]:
    """Return the axes whose combinations are all checked, in the order of the sweep.

    They are the axes of the shape. The axes of the start state are among them if it may come from a job or an upload,
    which must fit the grid and the law.
    """
    shaping = set(plan.shaping)
    if plan.starts_from_stored:
        shaping.update(plan.starting)
    return [key for key in plan.axes if key in shaping]


def members_to_check(plan: SweepPlan, coupled: Sequence[str]) -> list[int]:
    """Return the indices of the members to check, increasing."""
    chosen = {int(indices[0]) for indices in plan.groups(coupled)}
    lengths = [len(values) for values in plan.axes.values()]
    for i, (key, values) in enumerate(plan.axes.items()):
        if key in coupled:
            continue
        step = int(np.prod(lengths[i + 1 :], dtype=np.int64)) if plan.mode == "product" else 1
        chosen.update(position * step for position in _telling(values))
    return sorted(chosen)


def _telling(values: Values) -> Iterator[int]:
    """Iterate over positions on an axis whose values stand for all of them.

    Every bound of a number in a JobSpec is an interval, or that the number is whole: the extremes and one fraction
    stand for the others. Other values are all checked, equal ones once.
    """
    yield 0
    if isinstance(values, range):
        yield len(values) - 1
    elif isinstance(values, np.ndarray):
        yield from (int(values.argmin()), int(values.argmax()))
        yield from np.flatnonzero(values % 1)[:1].tolist()
    elif all(type(value) in (int, float) for value in values):
        yield from (values.index(min(values)), values.index(max(values)))
        yield from [i for i, value in enumerate(values) if value % 1][:1]
    else:
        first: dict[str, int] = {}
        for i, value in enumerate(values):
            first.setdefault(json.dumps(value, sort_keys=True), i)
        yield from first.values()
