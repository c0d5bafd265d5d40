"""Measures how two universes part, or meet again: their difference step by step."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from leym.contract.catalog import FIELDS

SHARE = 0.01  # of the field's range: cells that differ by more are counted


def differences(
    field: str,
    mine: tuple[NDArray[np.int64], NDArray[np.generic]],
    others: tuple[NDArray[np.int64], NDArray[np.generic]],
) -> dict[str, NDArray[np.generic]]:
    """Compare two recordings of a field at the steps that both have.

    Args:
        field: name of the field; angles are compared on the circle.
        mine: steps int64 [n] and frames [n, H, W] or [n, H, W, d] of the one.
        others: those of the other.

    Returns:
        `step`, `mean` and `largest` (of the absolute differences), and `cells`: the share of cells that differ by more
        than a hundredth of the field's range, or of 1 if it has none.

    Raises:
        ValueError: they have no step in common, or their frames differ in shape.
    """
    steps, here, there = np.intersect1d(mine[0], others[0], return_indices=True)
    if not len(steps):
        raise ValueError(f"{field}: the two jobs have recorded no step in common")
    first, second = mine[1][here], others[1][there]
    if first.shape != second.shape:
        raise ValueError(f"{field}: frames of {first.shape[1:]} and {second.shape[1:]} cannot be compared")
    info = FIELDS.get(field)
    wide = np.complex128 if np.iscomplexobj(first) else np.float64
    apart = np.abs(first.astype(wide) - second.astype(wide))
    low, high = (info.bounds if info else None) or (0.0, 1.0)
    if info and info.cyclic:
        apart = np.minimum(apart, (high - low) - apart)
    flat = apart.reshape(len(steps), -1)
    cells = (flat > SHARE * (high - low)).mean(axis=1)
    return {"step": steps, "mean": flat.mean(axis=1), "largest": flat.max(axis=1), "cells": cells}
