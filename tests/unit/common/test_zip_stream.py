"""Archives that are written while they are sent: whole or recognisably not, and never whole in memory."""

from __future__ import annotations

import io
import zipfile

import pytest

from leym.common.zip_stream import PART_BYTES, zip_stream


def test_every_file_comes_back_in_pieces_of_bounded_size():
    files = {"a/b.txt": [b"one", b"", b" two"], "empty": [], "large": [bytes([n]) * 100_000 for n in range(40)]}
    pieces = list(zip_stream(files.items()))
    assert len(pieces) > 10
    assert max(map(len, pieces)) < PART_BYTES + 200_000
    with zipfile.ZipFile(io.BytesIO(b"".join(pieces))) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == {n: b"".join(p) for n, p in files.items()}
    assert b"".join(zip_stream(files.items())) == b"".join(pieces)


def test_an_archive_that_breaks_off_is_no_archive():
    def broken():
        yield b"x" * PART_BYTES
        raise OSError("the store is away")

    got = []
    with pytest.raises(OSError, match="away"):
        got.extend(zip_stream([("good", [b"1"]), ("bad", broken())]))
    with pytest.raises(zipfile.BadZipFile):
        zipfile.ZipFile(io.BytesIO(b"".join(got)))
