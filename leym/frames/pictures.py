"""Frames as pictures. Colour ranges are fixed unless others are requested, so that pictures can be compared."""

from __future__ import annotations

import colorsys
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from leym.contract.catalog import shown_info
from leym.contract.problems import invalid
from leym.contract.spec import LIMITS
from leym.frames.animations import apng, gif, webp
from leym.frames.colormaps import colours

FORMATS = {
    "png": "image/png",
    "strip": "image/png",
    "gif": "image/gif",
    "webp": "image/webp",
    "apng": "image/apng",
}
TYPES = {**FORMATS, "mp4": "video/mp4"}  # a video is written by `leym.frames.videos`
STILL = ("png", "strip")  # pictures that show all frames at once
SIDE = 256  # pixels of the longer side of a frame, if no scale is requested
SHEET = 2048  # pixels of the longer side of a png of several frames, if no scale is requested and it is possible
# longest side: limits of viewers for png and apng, and of H.264, else of the format
SIDES = {"png": 8192, "strip": 32_768, "gif": 65_535, "webp": 16_383, "apng": 8192, "mp4": 4096}
GAP = 2  # pixels between the frames of a png, before scaling
UNIT_MS = {"gif": 10, "webp": 1, "apng": 1, "mp4": 1}  # unit of the delay of a frame in the format
GIF_FPS = 50  # browsers show GIF frames with a delay under 20 ms for 100 ms
TAU = 2 * np.pi

_HUES = np.array([colorsys.hsv_to_rgb(i / 256, 0.8, 1.0) for i in range(256)]) * 255


def render(
    field: str,
    frames: NDArray[Any],
    channel: int | None = None,
    limits: tuple[float, float] | None = None,
    colormap: str | None = None,
) -> NDArray[np.uint8]:
    """Colour frames [n, H, W], [n, H, W, d] or, of a field that is a colour, [n, H, W, 3], as uint8 [n, H, W, 3].

    Args:
        field: name of the field or view, which determines the colours.
        frames: values of the field.
        channel: channel of a field with channels; None mixes all.
        limits: another range of values to map to colours.
        colormap: another colour map, one of `leym.frames.colormaps.NAMES`.

    Raises:
        Problem: 422 for a channel that the field does not have, and for limits or a map where colours mean something
            else than one number.
    """
    info = shown_info(field)
    if channel is not None:
        if not info.per_channel:
            raise invalid(f"channel = {channel}: field {field!r} has no channels", "/channel")
        if not 0 <= channel < frames.shape[-1]:
            raise invalid(f"channel = {channel}: field {field!r} has channels 0 to {frames.shape[-1] - 1}", "/channel")
    if (limits or colormap) and not is_scalar(field, channel):
        key = "colormap" if colormap else "range"
        raise invalid(f"{key}: the colours of {field!r} are no scale of one number; choose a channel", f"/{key}")
    if field == "psi":
        return _complex(frames if channel is None else frames[..., channel : channel + 1])
    values = np.asarray(frames, np.float32)
    if info.components:
        return (np.clip(np.nan_to_num(values), 0, 1) * 255).round().astype(np.uint8)
    low, high = limits or info.bounds or (0.0, 1.0)
    if channel is not None:
        values = values[..., channel]
    elif info.per_channel and low < 0:  # of numbers with a sign the sum, as of psi
        values = values.sum(-1) / np.sqrt(values.shape[-1], dtype=np.float32)
    elif info.per_channel:
        return _mixed(values)
    span = high - low or 1.0  # of a field that is the same everywhere
    return _coloured((values - low) / span, colours(colormap or ("twilight" if info.cyclic else "viridis")))


def is_scalar(field: str, channel: int | None) -> bool:
    """Return True if the colours of a field are a scale of one number, so that it can have another range and map."""
    info = shown_info(field)
    return field != "psi" and not info.components and (channel is not None or not info.per_channel)


@dataclass(frozen=True)
class PictureLayout:
    """Arrangement of frames in a file.

    Attributes:
        scale: pixels per cell side.
        columns: frames in a row of a png.
        width: of the picture in pixels.
        height: of the picture in pixels.
        delays: milliseconds that each frame of an animation is shown; empty for a png.
    """

    scale: int
    columns: int
    width: int
    height: int
    delays: tuple[int, ...]

    @property
    def pixels(self) -> int:
        """Number of pixels of all frames together."""
        return self.width * self.height * max(1, len(self.delays))


def lay_out(
    format: str,
    n: int,
    height: int,
    width: int,
    fps: float = 12.0,
    scale: int | None = None,
    columns: int | None = None,
) -> PictureLayout:
    """Arrange frames in one file, which `encode` writes.

    Args:
        format: one of `TYPES`.
        n: number of frames.
        height: cells of a frame.
        width: cells of a frame.
        fps: frames per second of an animation.
        scale: pixels per cell side; None chooses one that makes small grids visible, within the limits.
        columns: frames in a row of a png; None chooses a number that suits viewers.

    Raises:
        Problem: 422 for no frames, an unknown format, a file over the limits, or a frame rate that the format does not
            support.
    """
    if format not in TYPES:
        raise invalid(f"format = {format!r}; known: {', '.join(TYPES)}", "/format")
    if not n:
        raise invalid("a picture needs at least one frame")
    delays = () if format in STILL else _delays(format, n, fps)
    most = LIMITS.video_pixels if format == "mp4" else LIMITS.answer_pixels
    for candidate in [scale] if scale else range(max(1, SIDE // max(height, width)), 0, -1):
        across_n, rows = _rows_of(format, n, height, width, candidate, columns)
        across, down = ((k * (side + GAP) - GAP) * candidate for k, side in ((across_n, width), (rows, height)))
        found = PictureLayout(candidate, across_n, across, down, delays)
        if max(across, down) <= SHEET and found.pixels <= most:
            return found
    what = f"{n} frames of {height} x {width} cells at scale {found.scale} are"
    advice = "choose fewer frames or a smaller scale"
    if found.pixels > most:
        raise invalid(f"{what} {found.pixels} pixels; at most {most}: {advice}", "/scale")
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
    columns: int | None = None,
) -> bytes:
    """Encode frames as one file; FORMATS has its media type.

    A png of several frames shows them from left to right, and in several rows if one row would be too wide; a strip has
    one row. A gif, webp or apng is an animation with every frame, even one that equals the frame before it. For an mp4,
    see `leym.frames.videos`.

    Args:
        frames_rgb: uint8 [n, H, W, 3].
        format: one of `FORMATS`.
        fps: frames per second of an animation.
        scale: pixels per cell side; see `lay_out`.
        attributes: description of the file, stored as JSON: the text `leym` of a png or apng, the comment of a gif, the
            EXIF ImageDescription and the XMP dc:description of a webp.
        columns: frames in a row of a png; see `lay_out`.

    Raises:
        Problem: like `lay_out`.
    """
    n, height, width, _ = frames_rgb.shape
    layout = lay_out(format, n, height, width, fps, scale, columns)
    about = json.dumps(attributes or {})
    if format in STILL:
        text = PngInfo()
        text.add_text("leym", about)
        file = io.BytesIO()
        _enlarged(_sheet(frames_rgb, layout.columns), layout.scale).save(file, "PNG", pnginfo=text)
        return file.getvalue()
    pictures = (_enlarged(frame, layout.scale) for frame in frames_rgb)
    return {"gif": gif, "webp": webp, "apng": apng}[format](pictures, layout.delays, about)


def _delays(format: str, n: int, fps: float) -> tuple[int, ...]:
    """Compute the milliseconds per frame, in whole units of the format.

    The end of each frame is rounded instead of its delay, so that errors do not add up.
    """
    if format == "gif" and fps > GIF_FPS:
        raise invalid(
            f"fps = {fps:g}: a GIF has at most {GIF_FPS} frames per second, because browsers slow down faster ones; "
            "choose a lower rate, or webp",
            "/fps",
        )
    unit = UNIT_MS[format]
    ends = np.rint(np.arange(n + 1) * (1000 / fps / unit)).astype(np.int64) * unit
    return tuple(np.diff(ends).tolist())


def _rows_of(format: str, n: int, height: int, width: int, scale: int, columns: int | None) -> tuple[int, int]:
    """Return (columns, rows) of the frames in one picture."""
    if format not in STILL:
        return 1, 1
    if format == "strip":
        return n, 1
    if columns:
        return min(n, columns), ceil(n / columns)
    return _grid(n, height, width, scale)


def _grid(n: int, height: int, width: int, scale: int) -> tuple[int, int]:
    """Choose (columns, rows) for n frames: one row, or about a square if a row would be wider than SHEET."""
    if (n * (width + GAP) - GAP) * scale <= SHEET:
        return n, 1
    columns = min(n, ceil(sqrt(n * (height + GAP) / (width + GAP))))
    return columns, ceil(n / columns)


def _coloured(share: NDArray[np.float32], table: NDArray[Any]) -> NDArray[Any]:
    """Map values from 0 to 1 to a table of 256 colours; values outside get the colour of the nearer end."""
    level = np.nan_to_num(share, nan=0.0) * 256
    coloured: NDArray[Any] = table[np.clip(level.astype(np.int64), 0, 255)]
    return coloured


def _complex(psi: NDArray[np.complex64]) -> NDArray[np.uint8]:
    """Show the sum over channels: its phase as hue (red at 0), its length as brightness (1 if all channels agree)."""
    total = np.nan_to_num(psi.sum(-1) / np.sqrt(psi.shape[-1]))
    colour = _coloured((np.angle(total) / TAU % 1.0).astype(np.float32), _HUES)
    rgb: NDArray[np.uint8] = (colour * np.clip(np.abs(total), 0, 1)[..., None]).astype(np.uint8)
    return rgb


def _mixed(power: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Give each channel a hue, and mix the hues of a cell by the shares of its channels."""
    d = power.shape[-1]
    hues = np.array([colorsys.hsv_to_rgb(c / d, 0.85, 1.0) for c in range(d)], np.float32)
    rgb: NDArray[np.uint8] = (np.clip(np.nan_to_num(power) @ hues, 0, 1) * 255).astype(np.uint8)
    return rgb


def _sheet(frames: NDArray[np.uint8], columns: int) -> NDArray[np.uint8]:
    """Arrange frames in rows on a white picture."""
    n, height, width, _ = frames.shape
    rows = ceil(n / columns)
    sheet = np.full((rows * (height + GAP) - GAP, columns * (width + GAP) - GAP, 3), 255, np.uint8)
    for i, frame in enumerate(frames):
        y, x = i // columns * (height + GAP), i % columns * (width + GAP)
        sheet[y : y + height, x : x + width] = frame
    return sheet


def _enlarged(frame: NDArray[np.uint8], scale: int) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(frame.repeat(scale, 0).repeat(scale, 1)))
