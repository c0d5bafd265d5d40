"""Sets of member indices as text: `0-4095,5000,6000-6099`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def pack_ranges(indices: NDArray[np.int64]) -> str:
    """Return strictly increasing indices as text."""
    ends = np.flatnonzero(np.diff(indices) != 1)
    firsts = indices[np.concatenate([[0], ends + 1]).astype(np.int64)] if len(indices) else indices
    lasts = indices[np.concatenate([ends, [len(indices) - 1]]).astype(np.int64)] if len(indices) else indices
    pairs = zip(firsts.tolist(), lasts.tolist(), strict=True)
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in pairs)


def unpack_ranges(text: str) -> NDArray[np.int64]:
    """Return the indices of a text of `pack_ranges`: int64 [n], increasing."""
    parts = [part.partition("-") for part in text.split(",") if part]
    ranges = [np.arange(int(first), int(last or first) + 1, dtype=np.int64) for first, _, last in parts]
    return np.concatenate(ranges) if ranges else np.zeros(0, np.int64)
