"""Plots the points of a sweep: the value of an observable over two of its axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def phase_diagram(rows: Sequence[dict[str, Any]], x: str, y: str, value: str, ax: Axes | None, scattered: bool) -> Axes:
    """Draw a value over two columns, with a colour bar.

    Args:
        rows: one dict per point, with the columns x, y and value; a value that is missing leaves its place empty.
        x: column of the horizontal axis.
        y: column of the vertical axis.
        value: column of the colour.
        ax: where to draw; None for a new figure.
        scattered: the points are not on a grid, so that each is drawn as a dot.

    Raises:
        ValueError: there are no rows.
        ModuleNotFoundError: matplotlib is not installed.
    """
    from matplotlib import pyplot

    if not rows:
        raise ValueError("no member has a result to draw yet")
    ax = pyplot.subplots(figsize=(6, 4.5))[1] if ax is None else ax
    colours = np.array([np.nan if row[value] is None else row[value] for row in rows], float)
    across, along = (_positions([row[name] for row in rows]) for name in (x, y))
    if scattered:
        drawn: Any = ax.scatter(across.places, along.places, c=colours)
    else:
        grid = np.full((len(along.values), len(across.values)), np.nan)
        grid[along.codes, across.codes] = colours
        drawn = ax.pcolormesh(across.ticks, along.ticks, grid, shading="nearest")
    for positions, axis in ((across, ax.xaxis), (along, ax.yaxis)):
        if positions.labels:
            axis.set_ticks(positions.ticks, positions.labels)
    ax.set(xlabel=x, ylabel=y)
    ax.figure.colorbar(drawn, ax=ax, label=value)
    return ax


class _positions:  # noqa: N801 -- used as a function
    """Positions at which the values of one column are drawn.

    Attributes:
        values: the distinct values, sorted if they are numbers, else in order of appearance.
        codes: for each row, the index of its value: int64 [n].
        ticks: the places of `values`: the numbers themselves, or 0, 1, 2, …
        labels: the values as text; empty for numbers.
        places: for each row, the place of its value.
    """

    def __init__(self, column: Sequence[Any]):
        numbers = all(isinstance(value, int | float) for value in column)
        self.values = sorted(set(column)) if numbers else list(dict.fromkeys(map(str, column)))
        index = {value: i for i, value in enumerate(self.values)}
        self.codes = np.array([index[value if numbers else str(value)] for value in column], np.int64)
        self.ticks = np.array(self.values, float) if numbers else np.arange(len(self.values), dtype=float)
        self.labels = [] if numbers else [str(value) for value in self.values]
        self.places = self.ticks[self.codes]
