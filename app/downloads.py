"""Arrays as files: npy, npz and csv, written piece by piece so that memory does not grow with their length."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from typing import IO, Any

import numpy as np
from flask import Response
from numpy.typing import NDArray

from app.conditional import CHECKED, GROWING, conditional

IN_MEMORY = 16 * 2**20  # a larger file is written to the disk before it is sent
TYPES = {
    "npy": "application/octet-stream",
    "npz": "application/zip",
    "csv": "text/csv; charset=utf-8",
    "json": "application/json",
    "png": "image/png",
    "gif": "image/gif",
    "webp": "image/webp",
}


def scratch() -> IO[bytes]:
    """A file that is gone when it is closed."""
    return tempfile.SpooledTemporaryFile(max_size=IN_MEMORY)


def write_npy(file: IO[bytes], dtype: np.dtype[Any], shape: Sequence[int], parts: Iterable[NDArray[Any]]) -> None:
    """An npy file of `parts`, which follow each other along the first axis of `shape`."""
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": tuple(shape)}
    np.lib.format.write_array_header_1_0(file, header)
    for part in parts:
        file.write(np.ascontiguousarray(part, dtype=dtype).data.cast("B") if part.size else b"")


def write_npz(file: IO[bytes], whole: Mapping[str, NDArray[Any]]) -> zipfile.ZipFile:
    """An open npz file with the arrays of `whole` in it; not compressed: recorded states hardly shrink."""
    archive = zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True)
    for name, array in whole.items():
        with npz_member(archive, name) as member:
            write_npy(member, array.dtype, array.shape, [array])
    return archive


def npz_member(archive: zipfile.ZipFile, name: str) -> IO[bytes]:
    """Open the array `name` of an npz file for writing. Its date is fixed: the same arrays give the same bytes, so that
    a download that was cut off can go on."""
    return archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True)


def answer(body: bytes | str | IO[bytes], format: str, name: str, caching: str = CHECKED) -> Response:
    """`body` as an answer, shown by browsers where they can and saved as `name` otherwise.

    Args:
        body: the whole of it; a file is closed with the response.
        format: a key of TYPES.
        name: for the file, without quotes.
        caching: its `Cache-Control`. What may still grow (GROWING) is served whole: the rest of a download that was cut
            off would be the rest of another file.
    """
    response = Response(content_type=TYPES[format])
    response.headers["Content-Disposition"] = f'inline; filename="{name}"'
    response.headers["Cache-Control"] = caching
    return conditional(response, body.encode() if isinstance(body, str) else body, ranges=caching != GROWING)


def steps_header(response: Response, steps: NDArray[np.int64]) -> Response:
    """`X-Steps: start:stop:stride` of the frames in the answer, stop exclusive; empty when there are none."""
    response.headers["X-Steps"] = ":".join(map(str, span(steps).values())) if len(steps) else ""
    response.headers["X-Frames"] = str(len(steps))
    return response


def span(steps: NDArray[np.int64]) -> dict[str, int]:
    """The steps as start, stop and stride, as in range; stop is 0 when there are none."""
    if not len(steps):
        return {"start": 0, "stop": 0, "stride": 1}
    stride = int(steps[1] - steps[0]) if len(steps) > 1 else 1
    return {"start": int(steps[0]), "stop": int(steps[-1]) + stride, "stride": stride}
