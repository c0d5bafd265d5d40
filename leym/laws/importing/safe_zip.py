"""Zip files from strangers: bounded before anything of them is unpacked. Torch-free."""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from leym.contract.problems import Problem

DIRECTORY_BYTES = 4 * 2**20  # of the list of entries at the end: about 40 000 of them
RATIO = 100  # unpacked bytes per packed byte; float weights hardly shrink at all
PIECE = 2**20
SMALL = 64 * 2**10  # entries up to this size may be packed as well as they can (manifests are text)

_END, _END64, _LOCATOR64 = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"
_SYMLINK = 0o120000

# What zipfile raises for an archive that somebody made up or cut.
BROKEN = (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, ValueError, struct.error, zlib.error)


@contextmanager
def opened(path: Path, what: str, limit: int) -> Iterator[zipfile.ZipFile]:
    """The archive, whose entries together unpack to at most `limit` bytes and none of which leaves a folder.

    Raises Problem 422 (`what` is its title), naming the entry, the value and the bound.
    """
    _check_directory(path, what)
    try:
        archive = zipfile.ZipFile(path)
    except (*BROKEN, OSError) as error:
        raise Problem(422, what, f"the file is no zip archive that can be read: {error}") from error
    with archive:
        _check_entries(archive.infolist(), what, limit)
        yield archive


def copy(archive: zipfile.ZipFile, name: str, target: IO[bytes], what: str) -> None:
    """One entry, unpacked into a file, its checksum checked. Raises Problem 422."""
    for piece in _pieces(archive, archive.getinfo(name), what):
        target.write(piece)


def _pieces(archive: zipfile.ZipFile, info: zipfile.ZipInfo, what: str) -> Iterator[bytes]:
    left = info.file_size
    source: IO[bytes] | None = None
    try:
        while left or source is None:
            try:
                source = source or archive.open(info)
                piece = source.read(min(PIECE, left))  # never more than announced
            except (*BROKEN, OSError) as error:  # places that are none make a seek fail
                raise Problem(422, what, f"entry {info.filename[:80]!r} cannot be read: {error}") from error
            if left and not piece:
                raise Problem(422, what, f"entry {info.filename[:80]!r} ends {left} bytes too early")
            left -= len(piece)
            yield piece
    finally:
        if source:
            source.close()


def _check_entries(entries: list[zipfile.ZipInfo], what: str, limit: int) -> None:
    total = 0
    seen: set[str] = set()
    for info in entries:
        name = info.filename
        parts = name.replace("\\", "/").split("/")
        if name.startswith(("/", "\\")) or ".." in parts or ":" in parts[0]:
            raise Problem(422, what, f"entry {name[:80]!r} climbs out of its folder")
        if info.external_attr >> 16 & 0o170000 == _SYMLINK:
            raise Problem(422, what, f"entry {name[:80]!r} is a symbolic link")
        if info.flag_bits & 1:
            raise Problem(422, what, f"entry {name[:80]!r} is encrypted")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise Problem(422, what, f"entry {name[:80]!r} is packed by method {info.compress_type}; deflate is taken")
        if name in seen:
            raise Problem(422, what, f"entry {name[:80]!r} stands twice")
        seen.add(name)
        if info.file_size > max(SMALL, RATIO * info.compress_size):
            sizes = f"{info.file_size} bytes from {info.compress_size}"
            raise Problem(422, what, f"entry {name[:80]!r} unpacks to {sizes}; at most {RATIO} times as many")
        total += info.file_size
        if total > limit:
            raise Problem(422, what, f"the entries unpack to more than {limit} bytes")


def _check_directory(path: Path, what: str) -> None:
    """Bound the list of entries, which zipfile reads whole, before zipfile sees it."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - 22 - 20 - 56))
            tail = file.read()
    except OSError as error:
        raise Problem(422, what, f"{path.name}: {error.strerror}") from error
    if len(tail) < 22 or tail[-22:-18] != _END or tail[-2:] != b"\0\0":
        raise Problem(422, what, "the file is no zip archive, or its end is missing")
    (directory,) = struct.unpack("<L", tail[-10:-6])
    if tail[-42:-38] == _LOCATOR64 and tail[-98:-94] == _END64:
        (directory,) = struct.unpack("<Q", tail[-58:-50])
    if directory > DIRECTORY_BYTES:
        raise Problem(422, what, f"the list of entries has {directory} bytes; at most {DIRECTORY_BYTES}")
