"""NetCDF4 files of a job, written by h5netcdf, of the extra `data`. Nothing else imports it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from leym.frames.layout import TABLE, JobLike, arrays_of
from leym.frames.reader import FrameReader
from leym.frames.zarr_metadata import group_json

BLOCK_BYTES = 8 * 2**20  # frames are copied in blocks of this size


def write(path: str | os.PathLike[str], job: JobLike, reader: FrameReader, attributes: Mapping[str, Any]) -> None:
    """Write the committed frames and observables of a job, with the names, dimensions and attributes of its Zarr store.

    NetCDF4 has no float16: such fields are float32, with the same values. Complex fields are compounds of r and i.

    Args:
        path: file to write.
        job: row of the job.
        reader: its reader.
        attributes: further attributes of the file; structures become JSON text.

    Raises:
        ModuleNotFoundError: h5netcdf is not installed.
    """
    import h5netcdf

    root = group_json(job, more=attributes)
    nodes: dict[str, Any] = root["consolidated_metadata"]["metadata"]
    wanted = {p: n for p, n in nodes.items() if n["node_type"] == "array" and _is_first(p, nodes)}
    observed = reader.observables()[1]
    with h5netcdf.File(os.fspath(path), "w") as file:
        file.attrs.update(root["attributes"] | {"Conventions": "CF-1.11"})
        for node in wanted.values():
            for name, size in zip(node["dimension_names"], node["shape"], strict=True):
                if name not in file.dimensions:
                    file.dimensions[name] = size
        for key, node in wanted.items():
            name, dtype = key.removeprefix(f"{TABLE}/"), np.dtype(node["data_type"])
            dtype = np.dtype(np.float32) if dtype == np.float16 else dtype
            parent = file if "/" not in key else file.groups.get(TABLE) or file.create_group(TABLE)
            chunk = tuple(max(1, min(c, n)) for c, n in zip(_chunk(node), node["shape"], strict=True))
            options: dict[str, Any] = {"chunks": chunk, "compression": "gzip", "compression_opts": 1}
            variable = parent.create_variable(name, tuple(node["dimension_names"]), dtype, **options)
            variable.attrs.update(node["attributes"])
            if len(node["shape"]) == 1:
                variable[:] = observed[name][: node["shape"][0]] if name in observed else _steps(node, job)
            else:
                _copy(variable, reader, key, dtype, node["shape"])


def _copy(variable: Any, reader: FrameReader, name: str, dtype: np.dtype[Any], shape: list[int]) -> None:
    """Copy the frames of a field in blocks."""
    per_block = max(1, BLOCK_BYTES // (dtype.itemsize * int(np.prod(shape[1:]))))
    block, first = list[Any](), 0
    for _, frame in reader.frames(name):
        block.append(frame)
        if len(block) == per_block or first + len(block) == shape[0]:
            variable[first : first + len(block)] = np.stack(block).astype(dtype)
            first, block = first + len(block), []
        if first == shape[0]:
            return


def _steps(node: Mapping[str, Any], job: JobLike) -> Any:
    every = int(node["attributes"]["every"])
    skipped = max(array.skipped for array in arrays_of(job) if array.every == every)
    return (np.arange(node["shape"][0], dtype=np.int64) + skipped) * every


def _chunk(node: Mapping[str, Any]) -> list[int]:
    return list(node["chunk_grid"]["configuration"]["chunk_shape"])


def _is_first(path: str, nodes: Mapping[str, Any]) -> bool:
    """Return False for an array of the group of observables that the root has too, under the same name."""
    name = path.removeprefix(f"{TABLE}/")
    return path == name or name not in nodes or nodes[name]["shape"] != nodes[path]["shape"]
