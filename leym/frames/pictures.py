"""Frames as pictures: fixed colour ranges, so that two pictures can be compared."""

from __future__ import annotations

import colorsys
import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from leym.catalog import FIELDS
from leym.problems import Problem, invalid
from leym.spec import LIMITS

FORMATS = {"png": "image/png", "gif": "image/gif", "webp": "image/webp"}
SIDE = 256  # pixels that the longer side gets when no scale is asked for
SIDES = {"gif": 65_535, "webp": 16_383}  # pixels of one side that the format can hold
GAP = 2  # pixels between the frames of a strip, before scaling
TAU = 2 * np.pi

# uint8 [2, 256, 3]: matplotlib's viridis (perceptually uniform) and twilight (cyclic)
_LINEAR, _CYCLIC = np.load(Path(__file__).with_name("colours.npy"))
_HUES = np.array([colorsys.hsv_to_rgb(i / 256, 0.8, 1.0) for i in range(256)]) * 255


def render(
    field: str,
    frames: NDArray[Any],
    channel: int | None = None,
    limits: tuple[float, float] | None = None,
) -> NDArray[np.uint8]:
    """uint8 [n, H, W, 3] from frames [n, H, W] or [n, H, W, d].

    channel: one channel of a field that has them; without it all are mixed. limits: another colour range.
    Raises Problem 422 for a channel that is not there.
    """
    info = FIELDS[field]
    if channel is not None:
        if not info.per_channel:
            raise invalid(f"channel = {channel}: field {field!r} has no channels", "/channel")
        if not 0 <= channel < frames.shape[-1]:
            raise invalid(f"channel = {channel}: field {field!r} has channels 0 to {frames.shape[-1] - 1}", "/channel")
    if field == "psi":
        return _complex(frames if channel is None else frames[..., channel : channel + 1])
    values = np.asarray(frames, np.float32)
    if info.per_channel and channel is None:
        return _mixed(values)
    if channel is not None:
        values = values[..., channel]
    low, high = limits or info.bounds or (0.0, 1.0)
    return _coloured((values - low) / (high - low), _CYCLIC if info.cyclic else _LINEAR)


def encode(frames_rgb: NDArray[np.uint8], format: str, fps: float = 12.0, scale: int | None = None) -> bytes:
    """One file from uint8 [n, H, W, 3]; FORMATS has its media type.

    png: one picture, or a strip (frames from left to right) of several. gif, webp: an animation.
    scale: whole number, each cell becomes scale x scale pixels; None picks one that makes small grids visible.
    Raises Problem 422 for no frames, an unknown format or a file over the limits.
    """
    if format not in FORMATS:
        raise invalid(f"format = {format!r}; known: {', '.join(FORMATS)}", "/format")
    n, height, width, _ = frames_rgb.shape
    if not n:
        raise invalid("a picture needs at least one frame")
    scale = scale or max(1, SIDE // max(height, width))
    pixels = n * height * width * scale**2
    if pixels > LIMITS.answer_pixels:
        detail = f"{n} frames of {height} x {width} cells at scale {scale} are {pixels} pixels"
        raise Problem(
            422, "Too large", f"{detail}; at most {LIMITS.answer_pixels}: choose fewer frames or a smaller scale"
        )
    longest = max(height, width) * scale
    if longest > SIDES.get(format, longest):
        detail = f"{height} x {width} cells at scale {scale} are {longest} pixels wide or high"
        raise Problem(422, "Too large", f"{detail}; {format} holds at most {SIDES[format]}: choose a smaller scale")
    if format == "png":
        return _saved([_enlarged(_strip(frames_rgb), scale)], "PNG")
    pictures = [_enlarged(frame, scale) for frame in frames_rgb]
    options: dict[str, Any] = {"save_all": True, "duration": round(1000 / fps), "loop": 0}
    return _saved(pictures, "GIF", **options) if format == "gif" else _saved(pictures, "WEBP", lossless=True, **options)


def _coloured(share: NDArray[np.float32], table: NDArray[Any]) -> NDArray[Any]:
    """Values from 0 to 1 by a colour table; what is outside gets the colour of the end."""
    level = np.nan_to_num(share, nan=0.0) * 256
    return table[np.clip(level.astype(np.int64), 0, 255)]


def _complex(psi: NDArray[np.complex64]) -> NDArray[np.uint8]:
    """Hue: phase of the sum over channels, red at 0; brightness: its length, which is 1 when all channels agree."""
    total = np.nan_to_num(psi.sum(-1) / np.sqrt(psi.shape[-1]))
    colour = _coloured((np.angle(total) / TAU % 1.0).astype(np.float32), _HUES)
    return (colour * np.clip(np.abs(total), 0, 1)[..., None]).astype(np.uint8)


def _mixed(power: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Each channel has a hue; a cell shows them mixed by their share."""
    d = power.shape[-1]
    hues = np.array([colorsys.hsv_to_rgb(c / d, 0.85, 1.0) for c in range(d)], np.float32)
    return (np.clip(np.nan_to_num(power) @ hues, 0, 1) * 255).astype(np.uint8)


def _strip(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    n, height, _, _ = frames.shape
    gap = np.full((height, GAP, 3), 255, np.uint8)
    parts = [part for frame in frames for part in (gap, frame)][1:]
    return np.concatenate(parts, axis=1) if n > 1 else frames[0]


def _enlarged(frame: NDArray[np.uint8], scale: int) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(frame.repeat(scale, 0).repeat(scale, 1)))


def _saved(pictures: list[Image.Image], kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    if len(pictures) > 1:
        options["append_images"] = pictures[1:]
    pictures[0].save(file, kind, **options)
    return file.getvalue()
