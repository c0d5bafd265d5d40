"""Pictures that a law can learn to grow: drawn here by formulas, or read from a PNG file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.float32]
Ink = tuple[NDArray[np.float64], tuple[float, float, float]]  # signed distance (negative inside) and colour

FINEST = 4  # samples per pixel and axis, averaged


def picture(name: str, size: int) -> Picture:
    """Return a picture as premultiplied RGBA in [0, 1], float32 [4, size, size].

    Args:
        name: "flower", "ring", "lizard", or the path of a PNG file, which is scaled to fit.
        size: cells per side.

    Raises:
        ValueError: the name is neither built in nor a PNG file.
        ModuleNotFoundError: a PNG file is named and Pillow is not installed.
    """
    if name in DRAWN:
        return drawn(DRAWN[name], size)
    if not name.lower().endswith(".png"):
        raise ValueError(f"objective.picture = {name!r}: expected {', '.join(DRAWN)} or the path of a PNG file")
    return read_png(Path(name), size)


def read_png(path: Path, size: int) -> Picture:
    """Read a PNG file as premultiplied RGBA, float32 [4, size, size], centred and scaled to fit.

    Raises:
        ValueError: the file cannot be read as a picture.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            whole = image.convert("RGBA")
    except (OSError, UnidentifiedImageError) as error:
        raise ValueError(f"objective.picture = {str(path)!r}: {error}") from None
    whole.thumbnail((size, size))
    canvas = Image.new("RGBA", (size, size))
    canvas.paste(whole, ((size - whole.width) // 2, (size - whole.height) // 2))
    rgba: Picture = np.array(canvas, np.float32).transpose(2, 0, 1) / np.float32(255)
    rgba[:3] *= rgba[3]
    return rgba


def drawn(inks: Callable[[NDArray[np.float64], NDArray[np.float64]], list[Ink]], size: int) -> Picture:
    """Draw inks over each other, the last on top, with smooth edges, on the square [-1, 1]²."""
    at = (np.arange(size * FINEST) + 0.5) / (size * FINEST) * 2 - 1
    y, x = np.meshgrid(at, at, indexing="ij")
    rgba = np.zeros((4, *x.shape))
    for distance, colour in inks(x, y):
        rgba = np.where(distance < 0, np.array([*colour, 1.0])[:, None, None], rgba)
    blocks = rgba.reshape(4, size, FINEST, size, FINEST)
    found: Picture = blocks.mean((2, 4)).astype(np.float32)
    return found


def flower(x: NDArray[np.float64], y: NDArray[np.float64]) -> list[Ink]:
    """Draw six petals around a yellow centre, with a darker inner part."""
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    petals = 0.58 + 0.32 * np.cos(6 * angle)
    return [
        (radius - petals, (0.93, 0.32, 0.55)),
        (radius - 0.62 * petals, (0.72, 0.14, 0.42)),
        (radius - 0.24, (0.98, 0.80, 0.18)),
        (radius - 0.11, (0.85, 0.52, 0.10)),
    ]


def ring(x: NDArray[np.float64], y: NDArray[np.float64]) -> list[Ink]:
    """Draw a ring whose colour goes round in six parts."""
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    band = np.abs(radius - 0.62) - 0.24
    colours = [(0.90, 0.25, 0.25), (0.95, 0.65, 0.15), (0.55, 0.80, 0.25)]
    colours += [(0.20, 0.70, 0.75), (0.30, 0.40, 0.85), (0.70, 0.30, 0.75)]
    sector = np.floor((angle + np.pi) / (np.pi / 3)).clip(0, 5)
    return [(np.where(sector == i, band, 1.0), colour) for i, colour in enumerate(colours)]


def lizard(x: NDArray[np.float64], y: NDArray[np.float64]) -> list[Ink]:
    """Draw a lizard from above: a curved body with tail, four legs, a head and two eyes."""
    green, dark, pale = (0.30, 0.68, 0.30), (0.13, 0.40, 0.22), (0.95, 0.95, 0.75)
    spine = 0.12 * np.sin(3.2 * y)
    body = np.hypot((x - spine) / 0.25, (y + 0.02) / 0.5) - 1
    tail = np.where((y > 0.2) & (y < 0.97), np.abs(x - spine - 0.25 * (y - 0.2) ** 2) - 0.17 * (1 - y), 1.0)
    head = np.hypot((x + 0.14) / 0.24, (y + 0.62) / 0.27) - 1
    legs = [_segment(x, y, a, b, 0.075) for a, b in _LEGS]
    back = np.hypot((x - spine) / 0.09, (y + 0.02) / 0.36) - 1
    eyes = [np.hypot(x + 0.14 - side * 0.13, y + 0.70) - 0.06 for side in (-1, 1)]
    parts: list[Ink] = [(leg, dark) for leg in legs]
    parts += [(tail, green), (body, green), (head, green), (back, dark)]
    return [*parts, *((eye, pale) for eye in eyes)]


_LEGS = (
    ((-0.1, -0.28), (-0.68, -0.48)),
    ((-0.1, -0.28), (0.5, -0.42)),
    ((0.1, 0.25), (-0.5, 0.5)),
    ((0.1, 0.25), (0.66, 0.42)),
)


def _segment(
    x: NDArray[np.float64], y: NDArray[np.float64], a: tuple[float, float], b: tuple[float, float], width: float
) -> NDArray[np.float64]:
    """Return the signed distance to a thick line from a to b."""
    along = ((x - a[0]) * (b[0] - a[0]) + (y - a[1]) * (b[1] - a[1])) / ((b[0] - a[0]) ** 2 + (b[1] - a[1]) ** 2)
    t = along.clip(0, 1)
    found: NDArray[np.float64] = np.hypot(x - a[0] - t * (b[0] - a[0]), y - a[1] - t * (b[1] - a[1])) - width
    return found


DRAWN: dict[str, Callable[[NDArray[np.float64], NDArray[np.float64]], list[Ink]]] = {
    "flower": flower,
    "ring": ring,
    "lizard": lizard,
}
