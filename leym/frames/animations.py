"""GIF, WebP and APNG animations that contain every given frame.

Pillow merges equal successive frames. An animation of a frozen universe would have fewer frames than requested, and
frame i would not be the i-th step.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterable, Sequence
from xml.sax.saxutils import escape

from PIL import ExifTags, Image
from PIL.GifImagePlugin import getdata, getheader

DESCRIPTION = ExifTags.Base.ImageDescription
ANIMATED, WITH_XMP, WITH_EXIF = 0x02, 0x04, 0x08  # flags of a VP8X chunk
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
    """Encode an endless lossless WebP. Its description is in the EXIF and, for readers that know only that, in the XMP.

    Args:
        pictures: RGB pictures of one size.
        delays: milliseconds that each picture is shown.
        description: ASCII text for the EXIF ImageDescription of the file.
    """
    chunks: list[bytes] = []
    for picture, delay in zip(pictures, delays, strict=True):
        size = _u24(picture.width - 1) + _u24(picture.height - 1)
        if not chunks:
            chunks.append(_chunk(b"VP8X", struct.pack("<I", ANIMATED | WITH_XMP | WITH_EXIF) + size))
            chunks.append(_chunk(b"ANIM", struct.pack("<IH", 0xFFFFFFFF, 0)))  # a white background, repeated for ever
        frame = _u24(0) + _u24(0) + size + _u24(delay) + bytes([OPAQUE])
        chunks.append(_chunk(b"ANMF", frame + _bitstream(picture)))
    exif = Image.Exif()
    exif[DESCRIPTION] = description
    chunks.append(_chunk(b"EXIF", exif.tobytes().removeprefix(b"Exif\0\0")))
    chunks.append(_chunk(b"XMP ", _xmp(description)))
    return _chunk(b"RIFF", b"".join([b"WEBP", *chunks]))


def apng(pictures: Iterable[Image.Image], delays: Sequence[int], text: str) -> bytes:
    """Encode an endless APNG; programs that know only PNG show its first frame.

    Args:
        pictures: RGB pictures of one size.
        delays: milliseconds that each picture is shown.
        text: ASCII text for the chunk `leym`.
    """
    chunks, number = [b"\x89PNG\r\n\x1a\n"], 0
    for picture, delay in zip(pictures, delays, strict=True):
        header, pixels = _png_parts(picture)
        if not number:
            chunks += [_png_chunk(b"IHDR", header), _png_chunk(b"acTL", struct.pack(">II", len(delays), 0))]
            chunks.append(_png_chunk(b"zTXt", b"leym\0\0" + zlib.compress(text.encode())))
        place = struct.pack(">IIIII", number, picture.width, picture.height, 0, 0)
        chunks.append(_png_chunk(b"fcTL", place + struct.pack(">HHBB", delay, 1000, 0, 0)))
        if not number:  # the pixels of the first frame are those of the PNG
            chunks.append(_png_chunk(b"IDAT", pixels))
            number = 1
        else:
            chunks.append(_png_chunk(b"fdAT", struct.pack(">I", number + 1) + pixels))
            number += 2
    return b"".join([*chunks, _png_chunk(b"IEND", b"")])


def _png_parts(picture: Image.Image) -> tuple[bytes, bytes]:
    """Encode a picture as PNG, and return the contents of its IHDR and its IDAT chunks."""
    file = io.BytesIO()
    picture.save(file, "PNG")
    data, at, parts = file.getvalue(), 8, dict[bytes, bytes]()
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        name = data[at + 4 : at + 8]
        parts[name] = parts.get(name, b"") + data[at + 8 : at + 8 + length]
        at += length + 12
    return parts[b"IHDR"], parts[b"IDAT"]


def _png_chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _xmp(description: str) -> bytes:
    """Return an XMP packet (ISO 16684-1) whose dc:description is a text."""
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:description><rdf:Alt>'
        f'<rdf:li xml:lang="x-default">{escape(description)}</rdf:li></rdf:Alt></dc:description></rdf:Description>'
        "</rdf:RDF></x:xmpmeta>"
    ).encode()


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
