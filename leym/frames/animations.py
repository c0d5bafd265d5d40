"""GIF and WebP files that hold every frame they are given.

Pillow's own animations merge a frame that equals the one before it into that one: of a universe that stands still, a
file would hold fewer frames than were asked for, and frame i would not be the i-th step.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable, Sequence

from PIL import Image
from PIL.GifImagePlugin import getdata, getheader

DESCRIPTION = Image.ExifTags.Base.ImageDescription
ANIMATED, WITH_EXIF = 0x02, 0x08  # flags of a VP8X chunk
OPAQUE = 0x02  # flag of an ANMF chunk: not blended with the frame before


def gif(pictures: Iterable[Image.Image], delays: Sequence[int], comment: str) -> bytes:
    """An endless animation of RGB pictures of one size; delays: milliseconds, multiples of 10. comment: ASCII."""
    file = io.BytesIO()
    for picture, delay in zip(pictures, delays, strict=True):
        coloured = picture.convert("P", palette=Image.Palette.ADAPTIVE)
        if not file.tell():
            file.writelines(getheader(coloured.copy(), info={"loop": 0, "comment": comment.encode()})[0])
        file.writelines(getdata(coloured, duration=delay, include_color_table=True))
    file.write(b";")
    return file.getvalue()


def webp(pictures: Iterable[Image.Image], delays: Sequence[int], description: str) -> bytes:
    """An endless lossless animation of RGB pictures of one size; delays: milliseconds. description: ASCII, as EXIF."""
    chunks: list[bytes] = []
    for picture, delay in zip(pictures, delays, strict=True):
        size = _u24(picture.width - 1) + _u24(picture.height - 1)
        if not chunks:
            chunks.append(_chunk(b"VP8X", struct.pack("<I", ANIMATED | WITH_EXIF) + size))
            chunks.append(_chunk(b"ANIM", struct.pack("<IH", 0xFFFFFFFF, 0)))  # a white background, repeated for ever
        frame = _u24(0) + _u24(0) + size + _u24(delay) + bytes([OPAQUE])
        chunks.append(_chunk(b"ANMF", frame + _bitstream(picture)))
    exif = Image.Exif()
    exif[DESCRIPTION] = description
    chunks.append(_chunk(b"EXIF", exif.tobytes().removeprefix(b"Exif\0\0")))
    return _chunk(b"RIFF", b"".join([b"WEBP", *chunks]))


def _bitstream(picture: Image.Image) -> bytes:
    """The chunk of a still WebP file that holds its pixels: the only one, as the picture has no transparency."""
    file = io.BytesIO()
    picture.save(file, "WEBP", lossless=True, method=0)  # the default takes five times as long to save a sixth
    return file.getvalue()[12:]  # behind "RIFF", size, "WEBP"


def _chunk(name: bytes, data: bytes) -> bytes:
    return name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)


def _u24(value: int) -> bytes:
    return value.to_bytes(3, "little")
