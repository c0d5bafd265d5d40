"""Frames as pictures: fixed colour ranges, so that two pictures can be compared."""

from __future__ import annotations

import colorsys
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, sqrt
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from leym.contract.catalog import FIELDS
from leym.contract.problems import invalid
from leym.contract.spec import LIMITS
from leym.frames.animations import gif, webp

FORMATS = {"png": "image/png", "gif": "image/gif", "webp": "image/webp"}
SIDE = 256  # pixels that the longer side of a frame gets when no scale is asked for
SHEET = 2048  # pixels of one side that a png of several frames has at most, where it can, when no scale is asked for
SIDES = {"png": 8192, "gif": 65_535, "webp": 16_383}  # of one side; what a png's readers cope with, the others hold
GAP = 2  # pixels between the frames of a png, before scaling
UNIT_MS = {"gif": 10, "webp": 1}  # in which the format states how long a frame is shown
GIF_FPS = 50  # browsers show GIF frames of less than 20 ms for 100 ms
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


@dataclass(frozen=True)
class Plan:
    """Describes what a file of frames holds.

    scale: pixels of a cell's side. columns: frames in a row of a png. width, height: of the picture, in pixels.
    delays: milliseconds that each frame of an animation is shown; empty for a png.
    """

    scale: int
    columns: int
    width: int
    height: int
    delays: tuple[int, ...]

    @property
    def pixels(self) -> int:
        return self.width * self.height * max(1, len(self.delays))


def plan(format: str, n: int, height: int, width: int, fps: float = 12.0, scale: int | None = None) -> Plan:
    """Arranges n frames of height x width cells in one file; `encode` makes it.

    Args:
        format: png, gif or webp.
        fps: frames per second of an animation.
        scale: pixels of a cell's side. None: what makes small grids visible, within the limits.

    Raises:
        Problem: 422 for no frames, an unknown format, a file over the limits, or a rate that the format cannot have.
    """
    if format not in FORMATS:
        raise invalid(f"format = {format!r}; known: {', '.join(FORMATS)}", "/format")
    if not n:
        raise invalid("a picture needs at least one frame")
    delays = () if format == "png" else _delays(format, n, fps)
    for tried in [scale] if scale else range(max(1, SIDE // max(height, width)), 0, -1):
        columns, rows = _grid(n, height, width, tried) if format == "png" else (1, 1)
        across, down = ((k * (side + GAP) - GAP) * tried for k, side in ((columns, width), (rows, height)))
        found = Plan(tried, columns, across, down, delays)
        if max(across, down) <= SHEET and found.pixels <= LIMITS.answer_pixels:
            return found
    what = f"{n} frames of {height} x {width} cells at scale {found.scale} are"
    advice = "choose fewer frames or a smaller scale"
    if found.pixels > LIMITS.answer_pixels:
        raise invalid(f"{what} {found.pixels} pixels; at most {LIMITS.answer_pixels}: {advice}", "/scale")
    if max(found.width, found.height) > SIDES[format]:
        size = f"{found.width} x {found.height} pixels"
        raise invalid(f"{what} a picture of {size}; {format} holds at most {SIDES[format]} a side: {advice}", "/scale")
    return found


def encode(
    frames_rgb: NDArray[np.uint8],
    format: str,
    fps: float = 12.0,
    scale: int | None = None,
    attributes: Mapping[str, Any] | None = None,
) -> bytes:
    """Makes one file of frames; FORMATS has its media type.

    A png of several frames shows them from left to right, and in rows below each other where one row would be too
    wide. A gif or webp is an animation that holds every frame, also one that equals the frame before it.

    Args:
        frames_rgb: uint8 [n, H, W, 3].
        attributes: what the file says of itself, as JSON: `leym` among the texts of a png, the comment of a gif, the
            EXIF ImageDescription of a webp.

    Raises:
        Problem: like `plan`, whose fps and scale these are.
    """
    n, height, width, _ = frames_rgb.shape
    planned = plan(format, n, height, width, fps, scale)
    about = json.dumps(attributes or {})
    if format == "png":
        text = PngInfo()
        text.add_text("leym", about)
        file = io.BytesIO()
        _enlarged(_sheet(frames_rgb, planned.columns), planned.scale).save(file, "PNG", pnginfo=text)
        return file.getvalue()
    pictures = (_enlarged(frame, planned.scale) for frame in frames_rgb)
    return (gif if format == "gif" else webp)(pictures, planned.delays, about)


def _delays(format: str, n: int, fps: float) -> tuple[int, ...]:
    """Milliseconds per frame, in whole units of the format.

    What is rounded is when a frame ends, not how long it is shown, so that errors do not add up.
    """
    if format == "gif" and fps > GIF_FPS:
        raise invalid(
            f"fps = {fps:g}: a GIF has at most {GIF_FPS} frames per second, since browsers slow down what is faster; "
            "choose fewer, or webp",
            "/fps",
        )
    unit = UNIT_MS[format]
    ends = np.rint(np.arange(n + 1) * (1000 / fps / unit)).astype(np.int64) * unit
    return tuple(np.diff(ends).tolist())


def _grid(n: int, height: int, width: int, scale: int) -> tuple[int, int]:
    """(columns, rows) of n frames: one row, or about a square where that is wider than SHEET."""
    if (n * (width + GAP) - GAP) * scale <= SHEET:
        return n, 1
    columns = min(n, ceil(sqrt(n * (height + GAP) / (width + GAP))))
    return columns, ceil(n / columns)


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


def _sheet(frames: NDArray[np.uint8], columns: int) -> NDArray[np.uint8]:
    """One picture of frames in rows, with white between and behind them."""
    n, height, width, _ = frames.shape
    rows = ceil(n / columns)
    sheet = np.full((rows * (height + GAP) - GAP, columns * (width + GAP) - GAP, 3), 255, np.uint8)
    for i, frame in enumerate(frames):
        y, x = i // columns * (height + GAP), i % columns * (width + GAP)
        sheet[y : y + height, x : x + width] = frame
    return sheet


def _enlarged(frame: NDArray[np.uint8], scale: int) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(frame.repeat(scale, 0).repeat(scale, 1)))
