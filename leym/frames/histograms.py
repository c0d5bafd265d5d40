"""Distribution of the values of a frame: counts per bin, and how well the frame compresses."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 256  # at most: one byte per value is compressed
LEVEL = 6  # of zlib


@dataclass(frozen=True)
class Histogram:
    """Distribution of the values of one frame.

    Attributes:
        counts: values per bin, int64 [bins].
        outside: values below or above the range, or not finite.
        compression: bytes of the frame after DEFLATE / before; near 0 for a uniform frame, near log2(bins) / 8 for
            noise that fills the bins evenly.
    """

    counts: NDArray[np.int64]
    outside: int
    compression: float


def histogram(frame: NDArray[Any], low: float, high: float, bins: int) -> Histogram:
    """Count the values of a frame in equal bins from `low` to `high`; `high` itself belongs to the last one.

    zlib at level 6 compresses the number of the bin of each value, one byte each, channel by channel and row by row. A
    value outside has the number of the nearest bin, NaN that of the first. Ratios can be compared for frames of one
    size with the same bins.

    Args:
        frame: real values [H, W] or [H, W, d].
        low: least value of the range.
        high: largest value of the range, above `low`.
        bins: 2 to 256.
    """
    values = np.asarray(frame, np.float32)
    planes = values if values.ndim == 2 else np.moveaxis(values, -1, 0)
    inside = (planes >= low) & (planes <= high)
    share = (planes.astype(np.float64) - low) / (high - low)
    codes = np.clip(np.nan_to_num(share * bins, nan=0.0), 0, bins - 1).astype(np.uint8)
    counts = np.bincount(codes[inside], minlength=bins)
    packed = zlib.compress(np.ascontiguousarray(codes).data, LEVEL)
    return Histogram(counts, int(inside.size - inside.sum()), len(packed) / codes.size)
