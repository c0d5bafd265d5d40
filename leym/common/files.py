"""Writes files atomically: a reader finds the old content or all of the new one, never a part of it."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

STDOUT = Path("-")
# A temporary file gets a name that no key of the frame store has (it begins with a dot) and that the caches of
# torch and Triton ignore (it ends in .tmp).
_TEMPORARY = ".{name}.{random}.tmp"


@contextlib.contextmanager
def atomic_file(
    path: Path, *, mode: int | None = None, durable: bool = False, replace: bool = True
) -> Iterator[IO[bytes]]:
    """Open a temporary file beside `path`, and give it that name when the block ends without an exception.

    Args:
        path: name of the file. A symbolic link is replaced, not followed.
        mode: permissions of the file; None leaves them to the umask.
        durable: sync the file before it gets its name, and the folder afterwards, so that both survive a power cut.
        replace: False keeps a file that exists already.

    Raises:
        FileExistsError: the file exists and `replace` is False.
        OSError: the file cannot be written.
    """
    temporary = path.with_name(_TEMPORARY.format(name=path.name[:100], random=secrets.token_hex(6)))
    flags, first_mode = os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666 if mode is None else 0o600
    try:
        with open(os.open(temporary, flags, first_mode), "wb") as file:
            yield file
            if mode is not None:
                os.fchmod(file.fileno(), mode)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        if replace:
            os.replace(temporary, path)
        else:
            os.link(temporary, path)
            temporary.unlink()
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if durable:
        sync(path.parent)


@contextlib.contextmanager
def output_file(path: Path, *, durable: bool = False) -> Iterator[IO[bytes]]:
    """Open the file that a user named for output; `-` is stdout.

    A regular file is written atomically: it keeps its mode if it exists and gets that of the umask if it does not. A
    symbolic link is followed. A FIFO, a device, and a file with several hard links are written in place.

    Args:
        path: file to write, or `STDOUT`.
        durable: sync a regular file and its folder, as `atomic_file` does.

    Raises:
        OSError: the file cannot be written.
    """
    if path == STDOUT:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    target = Path(os.path.realpath(path))
    try:
        found = target.stat()
    except FileNotFoundError:
        found = None
    if found and (not stat.S_ISREG(found.st_mode) or found.st_nlink > 1):
        with target.open("wb") as file:
            yield file
        return
    with atomic_file(target, mode=stat.S_IMODE(found.st_mode) if found else None, durable=durable) as file:
        yield file


def write_text(path: Path, text: str, *, durable: bool = False) -> None:
    """Write `text` as UTF-8 to an `output_file`."""
    with output_file(path, durable=durable) as file:
        file.write(text.encode())


def sync(path: Path) -> None:
    """Flush a file or the names in a folder to the disk (fsync)."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
