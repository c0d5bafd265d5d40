"""Chooses members that stand for a whole sweep."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROUNDS = 20  # of k-means; it has settled long before


def typical(rows: Sequence[dict[str, Any]], names: Sequence[str], count: int) -> list[int]:
    """Choose rows that stand for all: one of each of `count` groups whose observables are alike.

    The groups are those of k-means (Lloyd 1982) on observables scaled to unit variance, started from points far from
    each other, so that the same rows give the same choice. Of each group, the row nearest to its mean is chosen.

    Args:
        rows: one dict per member.
        names: columns to compare; a row in which one is missing is not chosen.
        count: number of groups; fewer if there are fewer different rows.

    Returns:
        Positions in `rows`, those of large groups first.

    Raises:
        ValueError: no row has all of the values.
    """
    whole = [i for i, row in enumerate(rows) if all(isinstance(row.get(name), int | float) for name in names)]
    if not whole or not names:
        raise ValueError("no member has a result to compare yet")
    values = np.array([[float(rows[i][name]) for name in names] for i in whole])
    spread = values.std(axis=0)
    points = (values - values.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    centres = _far_apart(points, min(count, len(np.unique(points, axis=0))))
    for _ in range(ROUNDS):
        groups = _distances(points, centres).argmin(axis=1)
        means = [points[groups == k].mean(axis=0) if (groups == k).any() else c for k, c in enumerate(centres)]
        centres = np.array(means)
    distances = _distances(points, centres)
    groups = distances.argmin(axis=1)
    order = np.argsort(-np.bincount(groups, minlength=len(centres)), kind="stable")
    chosen = [whole[int(np.where(groups == k, distances[:, k], np.inf).argmin())] for k in order if (groups == k).any()]
    return list(dict.fromkeys(chosen))


def _far_apart(points: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Return points of which each is the farthest from those before it; the first is the nearest to the mean."""
    chosen = [int((points**2).sum(axis=1).argmin())]
    nearest = ((points - points[chosen[0]]) ** 2).sum(axis=1)
    while len(chosen) < count:
        chosen.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, ((points - points[chosen[-1]]) ** 2).sum(axis=1))
    return points[chosen]


def _distances(points: NDArray[np.float64], centres: NDArray[np.float64]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = np.stack([((points - centre) ** 2).sum(axis=1) for centre in centres], axis=1)
    return found
