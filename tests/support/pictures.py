"""Animations as Pillow reads them."""

from __future__ import annotations

import io

from PIL import Image


def durations(file: bytes) -> list[int]:
    """Milliseconds of every frame."""
    with Image.open(io.BytesIO(file)) as found:
        times = []
        for i in range(found.n_frames):  # type: ignore[attr-defined]
            found.seek(i)
            found.load()
            times.append(int(found.info["duration"]))
        return times
