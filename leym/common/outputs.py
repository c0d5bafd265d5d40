"""Files that people ask for: they appear whole or not at all, and nothing but a plain file is ever replaced."""

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


@contextlib.contextmanager
def written(path: Path, *, sync: bool = False) -> Iterator[IO[bytes]]:
    """Open what `path` names for writing; `-` is stdout.

    A plain file, or one that is not there yet, gets its new content by a rename when the block ends without an
    exception, so that nobody meets half of it; a symbolic link stays, and what it points to is written. A new file has
    the mode that the umask leaves, an old one keeps its own. A FIFO, a device, and a file with several names are
    written in place.

    sync: the content is on the disk before the file has its name. Raises OSError.
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
    part = target.with_name(f".{target.name[:100]}.{secrets.token_hex(6)}")
    try:
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), "wb") as file:
            if found:
                os.fchmod(file.fileno(), stat.S_IMODE(found.st_mode))
            yield file
            if sync:
                file.flush()
                os.fsync(file.fileno())
        part.replace(target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str, *, sync: bool = False) -> None:
    """Write `text` as UTF-8 like `written`."""
    with written(path, sync=sync) as file:
        file.write(text.encode())
