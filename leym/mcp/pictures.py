"""Pictures that are small enough for a model to look at."""

from __future__ import annotations

import io

from PIL import Image

PIXELS = 384  # of the longer side of a small grid, magnified by a whole number
LARGEST = 768  # of the longer side of any picture


def fitted(png: bytes) -> bytes:
    """Return a PNG as it is, or reduced to LARGEST pixels of its longer side if it has more."""
    with Image.open(io.BytesIO(png)) as picture:
        if max(picture.size) <= LARGEST:
            return png
        smaller = picture.convert("RGB")
        smaller.thumbnail((LARGEST, LARGEST))
    file = io.BytesIO()
    smaller.save(file, "PNG")
    return file.getvalue()
