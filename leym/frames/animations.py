"""GIF and WebP animations that contain every given frame.

Pillow merges equal successive frames. An animation of a frozen universe would have fewer frames than requested, and
frame i would not be the i-th step.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable, Sequence

from PIL import ExifTags, Image
from PIL.GifImagePlugin import getdata, getheader

DESCRIPTION = ExifTags.Base.ImageDescription
ANIMATED, WITH_EXIF = 0x02, 0x08  # flags of a VP8X chunk
OPAQUE = 0x02  # flag of an ANMF chunk: not blended with the frame before


def gif(pictures: Iterable[Image.Image], delays: Sequence[int], comment: str) -> bytes:
    """Encode an endless GIF.

    Args:
        pictures: RGB pictures of one size.
        delays: milliseconds that each picture is shown, multiples of 10.
        comment: ASCII text for the comment of the file.
    """
    file = io.BytesIO()
    for picture, delay in zip(pictures, delays, strict=True):
        indexed = picture.convert("P", palette=Image.Palette.ADAPTIVE)
        if not file.tell():
            file.writelines(getheader(indexed.copy(), info={"loop": 0, "comment": comment.encode()})[0])
        file.writelines(getdata(indexed, duration=delay, include_color_table=True))
    file.write(b";")
    return file.getvalue()


def webp(pictures: Iterable[Image.Image], delays: Sequence[int], description: str) -> bytes:
    """Encode an endless lossless WebP.

    Args:
        pictures: RGB pictures of one size.
        delays: milliseconds that each picture is shown.
        description: ASCII text for the EXIF ImageDescription of the file.
    """
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
    """Encode a picture as the chunk of a WebP file that contains the pixels."""
    file = io.BytesIO()
    # the default method takes five times as long for a file that is a sixth smaller
    picture.save(file, "WEBP", lossless=True, method=0)
    return file.getvalue()[12:]  # after "RIFF", size and "WEBP"; without transparency there is no other chunk


def _chunk(name: bytes, data: bytes) -> bytes:
    return name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)


def _u24(value: int) -> bytes:
    return value.to_bytes(3, "little")
