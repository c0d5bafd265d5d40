"""Zarr v3 metadata (`zarr.json`) of the arrays and groups of a job. The shapes contain committed frames only."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from leym.contract.problems import not_found
from leym.frames.layout import TABLE, TABLE_ROWS, ArraySpec, JobLike, arrays_of, column_attributes, step_dims
from leym.frames.manifest import committed_arrays, visible_frames
from leym.frames.shards import codecs

BYTES = [{"name": "bytes", "configuration": {"endian": "little"}}]


def run_attributes(job: JobLike) -> dict[str, Any]:
    """Return the provenance of results: job, law with its digest, precision, state, spec, and facts of the engine."""
    manifest = job.manifest or {}
    return {
        "job": job.id,
        "law": job.law,
        "precision": job.precision,
        "fidelity": job.fidelity,
        "state": str(job.state),
        "committed_step": job.step,
        **{key: job.spec[key] for key in ("seed", "gamma") if key in job.spec},  # a fidelity job has neither
        "spec": dict(job.spec),
        **manifest.get("attributes", {}),
    }


def group_json(job: JobLike, group: str = "", more: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the zarr.json of a group: attributes of the run, and consolidated metadata of all nodes below it.

    Args:
        job: row of the job.
        group: `""` for the root, or `observables`.
        more: further attributes of the group.

    Raises:
        Problem: 404 for a group that the job does not have.
    """
    nodes = dict(_nodes(job))
    if group and nodes.get(group, {}).get("node_type") != "group":
        raise not_found("group", group)
    below = f"{group}/" if group else ""
    inline = {path.removeprefix(below): node for path, node in nodes.items() if path.startswith(below)}
    consolidated = {"kind": "inline", "must_understand": False, "metadata": inline}
    return group_node({**run_attributes(job), **(more or {})}) | {"consolidated_metadata": consolidated}


def array_json(job: JobLike, path: str) -> dict[str, Any]:
    """Return the zarr.json of an array with its committed frames.

    Raises:
        Problem: 404 for a path that is not an array of the job.
    """
    found = dict(_nodes(job)).get(path)
    if found is None or found["node_type"] != "array":
        raise not_found("array", path)
    return found


def observable_paths(arrays: Sequence[ArraySpec], observable: str) -> tuple[str, ...]:
    """Return the paths of an observable: in its group, and also at the root unless a field has its name."""
    inside = f"{TABLE}/{observable}"
    return (inside,) if any(a.name == observable for a in arrays if not a.is_table) else (inside, observable)


def step_arrays(arrays: Sequence[ArraySpec]) -> dict[str, int]:
    """Return the interval of each coordinate array by path.

    All are at the root; that of the observables is in their group as well.
    """
    dims = step_dims(arrays)
    at_root = {dims[a.every]: a.every for a in arrays}
    return at_root | {f"{TABLE}/{dims[a.every]}": a.every for a in arrays if a.is_table}


def _nodes(job: JobLike) -> Iterator[tuple[str, dict[str, Any]]]:
    """Iterate over all arrays and groups below the root by path, each group before its members."""
    arrays = arrays_of(job)
    dims, counts = step_dims(arrays), visible_frames(job, committed_arrays(job.manifest, arrays), arrays)
    for array in arrays:
        time, n = dims[array.every], counts[array.name]
        if array.is_table:
            yield TABLE, group_node(run_attributes(job))
            for column in array.columns:
                for path in observable_paths(arrays, column):
                    yield path, _flat("float64", n, time, "NaN", column_attributes(column))
        else:
            yield array.name, _field(array, n, time)
    for path, every in step_arrays(arrays).items():
        n = max(counts[array.name] for array in arrays if array.every == every)
        attributes = {"units": "1", "long_name": "step", "every": every}
        yield path, _flat("int64", n, dims[every], 0, attributes)


def _field(array: ArraySpec, n: int, time: str) -> dict[str, Any]:
    return array_node(
        array.dtype,
        [n, *array.shape],
        [array.chunk_frames, *array.shape],
        nan_of(array.dtype),
        codecs(array.dtype),
        [time, *array.dims],
        array.attributes,
    )


def _flat(dtype: str, n: int, time: str, fill: Any, attributes: Mapping[str, Any]) -> dict[str, Any]:
    return array_node(dtype, [n], [TABLE_ROWS], fill, BYTES, [time], attributes)


def nan_of(dtype: str) -> Any:
    """Return NaN as the fill value of a dtype."""
    return ["NaN", "NaN"] if dtype.startswith("complex") else "NaN"


def array_node(
    dtype: str,
    shape: list[int],
    chunk: list[int],
    fill: Any,
    codec: Any,
    dims: list[str],
    attributes: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the zarr.json of an array."""
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": shape,
        "data_type": dtype,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": chunk}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": fill,
        "codecs": codec,
        "attributes": portable(attributes),
        "dimension_names": dims,
        "storage_transformers": [],
    }


def group_node(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the zarr.json of a group."""
    return {"zarr_format": 3, "node_type": "group", "attributes": portable(attributes)}


def portable(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Convert attributes to types that netCDF supports: values other than text and numbers become JSON text."""
    return {key: value if type(value) in (str, int, float) else json.dumps(value) for key, value in attributes.items()}
