"""Files as a careless or hostile hand leaves them: a good one, changed in a few places. Seeded: each comes again.

Bytes are flipped, cut, doubled and overwritten by numbers at the edges; JSON gets odd values and loses or gains keys;
zip archives are changed as a whole, or one entry is and the archive made anew, so that its checksums are right.
"""

from __future__ import annotations

import io
import json
import struct
import zipfile
from random import Random
from typing import Any

EDGES = [0, 1, -1, 127, 255, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**53, 2**63 - 1, 2**64 - 1, 2**80]
ODD = [None, True, "", "x", "../..", "\x00", "A" * 5000, [], {}, [[]], 0.5, 1e308, -1e-300, *EDGES]


def changed(data: bytes, random: Random) -> bytes:
    """The file with some changes, of a kind that fits it."""
    if data[:2] == b"PK" and random.random() < 0.6:
        return _archive(data, random)
    if data[:1] == b"{" and random.random() < 0.6:
        return _json(data, random)
    if data[8:9] == b"{" and random.random() < 0.6:
        return _safetensors(data, random)
    for _ in range(random.choice((1, 1, 2, 5))):
        data = random.choice((_flip, _cut, _edge, _double, _splice))(data, random)
    return data


def _flip(data: bytes, random: Random) -> bytes:
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 4, 32)) if data else 0):
        changed[_near_an_end(len(data), random)] ^= 1 << random.randrange(8)
    return bytes(changed)


def _cut(data: bytes, random: Random) -> bytes:
    return data[: random.randrange(len(data) + 1)]


def _edge(data: bytes, random: Random) -> bytes:
    """A number at the edge of what its width can hold, somewhere."""
    number, width = random.choice(EDGES), random.choice((1, 2, 4, 8))
    piece = (number % 2 ** (8 * width)).to_bytes(width, random.choice(("little", "big")))
    at = _near_an_end(len(data) + 1, random)
    return data[:at] + piece + data[at + width :]


def _double(data: bytes, random: Random) -> bytes:
    start, length = random.randrange(len(data) + 1), random.randrange(64)
    return data[: start + length] + data[start:]


def _splice(data: bytes, random: Random) -> bytes:
    at = random.randrange(len(data) + 1)
    return data[:at] + random.randbytes(random.randrange(9)) + data[at + random.randrange(9) :]


def _near_an_end(length: int, random: Random) -> int:
    """Headers and directories are there; the middle is mostly numbers, of which any are good."""
    reach = random.choice((64, 512, length))
    at = random.randrange(min(reach, length))
    return at if random.random() < 0.5 else length - 1 - at


def _json(data: bytes, random: Random) -> bytes:
    try:
        content = json.loads(data)
    except ValueError:
        return _flip(data, random)
    for _ in range(random.choice((1, 1, 2, 4))):
        content = _odd_somewhere(content, random)
    text = json.dumps(content)
    if random.random() < 0.05:
        text = "[" * 100_000 + text
    return text.encode("utf-8", "surrogatepass")


def _odd_somewhere(content: Any, random: Random) -> Any:
    if isinstance(content, dict) and content and random.random() < 0.9:
        key = random.choice(sorted(content))
        what = random.random()
        if what < 0.15:
            return {k: v for k, v in content.items() if k != key}
        if what < 0.25:
            return content | {random.choice(("__metadata__", "extra", "", key + " ")): content[key]}
        return content | {key: _odd_somewhere(content[key], random)}
    if isinstance(content, list) and content and random.random() < 0.7:
        at = random.randrange(len(content))
        return [*content[:at], _odd_somewhere(content[at], random), *content[at + random.randrange(2) :]]
    return random.choice(ODD)


def _safetensors(data: bytes, random: Random) -> bytes:
    """Its header changed as JSON, and the length in front of it right again, or nearly."""
    (length,) = struct.unpack("<Q", data[:8])
    header = _json(data[8 : 8 + length], random)
    said = len(header) + random.choice((0, 0, 0, 0, 1, -1))
    return struct.pack("<Q", max(said, 0)) + header + data[8 + length :]


def _archive(data: bytes, random: Random) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = [(info.filename, archive.read(info)) for info in archive.infolist()]
    at = random.randrange(len(entries))
    name, content = entries[at]
    what = random.random()
    if what < 0.75:
        entries[at] = name, changed(content, random)
    elif what < 0.85:
        entries[at] = random.choice(("../" + name, "/" + name, name + "/", "x" * 300, name.upper())), content
    elif what < 0.95:
        del entries[at]
    else:
        entries.append((name, content))
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", random.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return file.getvalue()
