"""Opens untrusted zip files: checks sizes and names before anything is unpacked. Torch-free."""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from leym.contract.problems import Problem

DIRECTORY_BYTES = 4 * 2**20  # of the list of entries at the end of the file; enough for about 40 000 entries
MAX_RATIO = 100  # unpacked bytes per packed byte; float weights hardly compress at all
CHUNK_BYTES = 2**20
SMALL_ENTRY_BYTES = 64 * 2**10  # entries up to this size may have any ratio: manifests are text and compress well

_END, _END64, _LOCATOR64 = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"
_SYMLINK = 0o120000

# Exceptions that zipfile raises for forged or truncated archives.
BROKEN = (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, ValueError, struct.error, zlib.error)


@contextmanager
def open_zip(path: Path, title: str, limit: int) -> Iterator[zipfile.ZipFile]:
    """Open an archive after checking that its entries stay inside a folder and unpack to at most `limit` bytes.

    Args:
        path: The file.
        title: Title of the problems that are raised.
        limit: Bytes of all entries together.

    Raises:
        Problem: 422, naming the entry, the value and the bound.
    """
    _check_directory(path, title)
    try:
        archive = zipfile.ZipFile(path)
    except (*BROKEN, OSError) as error:
        raise Problem(422, title, f"the file is not a readable zip archive: {error}") from error
    with archive:
        _check_entries(archive.infolist(), title, limit)
        yield archive


def extract(archive: zipfile.ZipFile, name: str, target: IO[bytes], title: str) -> None:
    """Unpack one entry into a file and check its checksum.

    Raises:
        Problem: 422, if the entry is damaged.
    """
    for chunk in _chunks(archive, archive.getinfo(name), title):
        target.write(chunk)


def _chunks(archive: zipfile.ZipFile, info: zipfile.ZipInfo, title: str) -> Iterator[bytes]:
    left = info.file_size
    source: IO[bytes] | None = None
    try:
        while left or source is None:
            try:
                source = source or archive.open(info)
                chunk = source.read(min(CHUNK_BYTES, left))  # never more than the directory announces
            except (*BROKEN, OSError) as error:  # OSError: an offset outside the file makes a seek fail
                raise Problem(422, title, f"entry {info.filename[:80]!r} cannot be read: {error}") from error
            if left and not chunk:
                raise Problem(422, title, f"entry {info.filename[:80]!r} ends {left} bytes too early")
            left -= len(chunk)
            yield chunk
    finally:
        if source:
            source.close()


def _check_entries(entries: list[zipfile.ZipInfo], title: str, limit: int) -> None:
    total = 0
    seen: set[str] = set()
    for info in entries:
        name = info.filename
        parts = name.replace("\\", "/").split("/")
        if name.startswith(("/", "\\")) or ".." in parts or ":" in parts[0]:
            raise Problem(422, title, f"entry {name[:80]!r} leads out of its folder")
        if info.external_attr >> 16 & 0o170000 == _SYMLINK:
            raise Problem(422, title, f"entry {name[:80]!r} is a symbolic link")
        if info.flag_bits & 1:
            raise Problem(422, title, f"entry {name[:80]!r} is encrypted")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise Problem(
                422, title, f"entry {name[:80]!r} is packed by method {info.compress_type}; only deflate is accepted"
            )
        if name in seen:
            raise Problem(422, title, f"entry {name[:80]!r} occurs twice")
        seen.add(name)
        if info.file_size > max(SMALL_ENTRY_BYTES, MAX_RATIO * info.compress_size):
            sizes = f"{info.file_size} bytes from {info.compress_size}"
            raise Problem(422, title, f"entry {name[:80]!r} unpacks to {sizes}; at most {MAX_RATIO} times as many")
        total += info.file_size
        if total > limit:
            raise Problem(422, title, f"the entries unpack to more than {limit} bytes")


def _check_directory(path: Path, title: str) -> None:
    """Bound the size of the list of entries, because zipfile reads the whole list when it opens a file."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - 22 - 20 - 56))
            tail = file.read()
    except OSError as error:
        raise Problem(422, title, f"{path.name}: {error.strerror}") from error
    if len(tail) < 22 or tail[-22:-18] != _END or tail[-2:] != b"\0\0":
        raise Problem(422, title, "the file is not a zip archive, or its end is missing")
    (directory,) = struct.unpack("<L", tail[-10:-6])
    if tail[-42:-38] == _LOCATOR64 and tail[-98:-94] == _END64:
        (directory,) = struct.unpack("<Q", tail[-58:-50])
    if directory > DIRECTORY_BYTES:
        raise Problem(422, title, f"the list of entries has {directory} bytes; at most {DIRECTORY_BYTES}")
