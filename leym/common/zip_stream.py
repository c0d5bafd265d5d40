"""Zip archives that are sent while they are written, with little of them in memory."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Iterator
from typing import Any

PART_BYTES = 2**18  # at least so many bytes are yielded at once

Files = Iterable[tuple[str, Iterable[bytes | memoryview]]]


def zip_stream(files: Files) -> Iterator[bytes]:
    """Yield the bytes of a zip archive of files that are not compressed again.

    The dates are fixed, so that equal files give an equal archive. If reading a file fails, the archive has no
    directory at its end, so that no reader takes it for complete.

    Args:
        files: name and content of each file, in pieces, in the order of the archive.
    """
    sink = _Sink()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for name, pieces in files:
            with archive.open(zipfile.ZipInfo(name), "w", force_zip64=True) as file:
                for piece in pieces:
                    file.write(piece)
                    if sink.size >= PART_BYTES:
                        yield sink.take()
    yield sink.take()


class _Sink(io.RawIOBase):
    """A file without positions, as `zipfile` writes to a pipe; `take` returns what was written since."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self.size = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        piece = bytes(data)
        self._pieces.append(piece)
        self.size += len(piece)
        return len(piece)

    def take(self) -> bytes:
        pieces, self._pieces, self.size = self._pieces, [], 0
        return b"".join(pieces)
