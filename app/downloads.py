"""Arrays as files: npy, npz and csv, written piece by piece so that memory does not grow with their length."""

from __future__ import annotations

import io
import tempfile
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from typing import IO, Any

import numpy as np
from flask import Response, send_file
from numpy.typing import NDArray

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
        with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
            np.lib.format.write_array(member, array, allow_pickle=False)
    return archive


def file_answer(file: IO[bytes], format: str, name: str) -> Response:
    """The file as an answer, shown by browsers where they can and saved as `name` otherwise."""
    length = file.seek(0, io.SEEK_END)
    file.seek(0)
    response = send_file(file, mimetype=TYPES[format], download_name=name, max_age=0)
    response.content_length = length
    return _named(response, name)


def answer(body: bytes | str, format: str, name: str) -> Response:
    return _named(Response(body, content_type=TYPES[format]), name)


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


def _named(response: Response, name: str) -> Response:
    response.headers["Content-Disposition"] = f'inline; filename="{name}"'
    response.headers["Cache-Control"] = "no-cache"
    return response
