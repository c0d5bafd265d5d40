"""Writes arrays as npy and npz files, and answers with files. Memory does not grow with the length of an array."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO, Any

import numpy as np
from flask import Response
from numpy.typing import NDArray

from app.conditional import NO_STORE, REVALIDATE, send_conditionally
from leym.common.table_formats import FORMATS
from leym.contract.problems import Problem
from leym.frames import pictures

IN_MEMORY = 16 * 2**20  # a larger file is written to the disk before it is sent
TYPES = {
    "npy": "application/octet-stream",
    "npz": "application/zip",
    "csv": "text/csv; charset=utf-8",
    "jsonl": FORMATS["jsonl"],
    "parquet": FORMATS["parquet"],
    "arrow": FORMATS["arrow"],
    "json": "application/json",
    **pictures.TYPES,
    "zip": "application/zip",
    "nc": "application/x-netcdf",
}
ENDINGS = {"strip": "png", "apng": "png"}  # of files whose format has another name


def temporary_file() -> IO[bytes]:
    """Return a file that disappears when it is closed, and is in memory while it is small."""
    return tempfile.SpooledTemporaryFile(max_size=IN_MEMORY)


@contextmanager
def made_by(extra: str, format: str) -> Iterator[tempfile._TemporaryFileWrapper[bytes]]:
    """Yield a temporary file with a name, for a library that writes files, and close it if the library fails.

    The caller closes it otherwise, as a response does, and then it disappears.

    Args:
        extra: The extra of this package that brings the library.
        format: The format that the caller asked for, and the ending of the file's name.

    Raises:
        Problem: 501, the library is not installed.
    """
    file = tempfile.NamedTemporaryFile(suffix=f".{format}")  # noqa: SIM115 - closed with the response
    try:
        yield file
    except ModuleNotFoundError as error:
        file.close()
        detail = f"format = {format!r} needs {error.name}, which is not installed: pip install 'leym[{extra}]'"
        raise Problem(501, "Not installed", detail) from error
    except BaseException:
        file.close()
        raise


def write_npy(file: IO[bytes], dtype: np.dtype[Any], shape: Sequence[int], parts: Iterable[NDArray[Any]]) -> None:
    """Write an npy file.

    Args:
        file: The file to write to.
        dtype: The dtype of the array.
        shape: The shape of the array.
        parts: The array, cut along its first axis.
    """
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": tuple(shape)}
    np.lib.format.write_array_header_1_0(file, header)
    for part in parts:
        file.write(np.ascontiguousarray(part, dtype=dtype).data.cast("B") if part.size else b"")


def write_npz(file: IO[bytes], arrays: Mapping[str, NDArray[Any]]) -> zipfile.ZipFile:
    """Write `arrays` to a new npz file and return it, open for more. It is not compressed: states hardly shrink."""
    archive = zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True)
    for name, array in arrays.items():
        with npz_member(archive, name) as member:
            write_npy(member, array.dtype, array.shape, [array])
    return archive


def npz_member(archive: zipfile.ZipFile, name: str) -> IO[bytes]:
    """Open the array `name` of an npz file for writing.

    Its date is fixed, so that the same arrays give the same bytes and an interrupted download can be resumed.
    """
    return archive_member(archive, f"{name}.npy")


def archive_member(archive: zipfile.ZipFile, name: str) -> IO[bytes]:
    """Open a file of an archive for writing, with a fixed date, as `npz_member` does."""
    return archive.open(zipfile.ZipInfo(name), "w", force_zip64=True)


def comment_line(origin: str) -> bytes:
    """Return provenance as the first line of a csv, which `pandas.read_csv(file, skiprows=1)` skips."""
    return f"# provenance: {origin}\n".encode()


def file_response(body: bytes | str | IO[bytes], format: str, name: str, caching: str = REVALIDATE) -> Response:
    """Answer with a file, which browsers show if they can and save otherwise.

    Args:
        body: The complete file. An open file is closed with the response.
        format: A key of TYPES.
        name: The name to save it under, without quotes.
        caching: Its `Cache-Control`. A file that may still grow (NO_STORE) has no ranges: a resumed download would
            join parts of two files.
    """
    response = Response(content_type=TYPES[format])
    response.headers["Content-Disposition"] = f'inline; filename="{name}"'
    response.headers["Cache-Control"] = caching
    data = body.encode() if isinstance(body, str) else body
    return send_conditionally(response, data, ranges=caching != NO_STORE)


def add_step_headers(response: Response, steps: NDArray[np.int64]) -> Response:
    """Add `X-Steps: start:stop:stride` (stop exclusive; empty without frames) and `X-Frames: number of frames`."""
    response.headers["X-Steps"] = ":".join(map(str, step_range(steps).values())) if len(steps) else ""
    response.headers["X-Frames"] = str(len(steps))
    return response


def step_range(steps: NDArray[np.int64]) -> dict[str, int]:
    """Return evenly spaced steps as start, stop (exclusive) and stride; stop is 0 if there are no steps."""
    if not len(steps):
        return {"start": 0, "stop": 0, "stride": 1}
    stride = int(steps[1] - steps[0]) if len(steps) > 1 else 1
    return {"start": int(steps[0]), "stop": int(steps[-1]) + stride, "stride": stride}
