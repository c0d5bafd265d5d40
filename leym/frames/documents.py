"""The Zarr v3 metadata documents of a job, made from its row: they say what is committed, no more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from leym.frames.layout import (
    TABLE_ROWS,
    ArraySpec,
    JobLike,
    arrays_of,
    column_attributes,
    column_name,
    step_dims,
)
from leym.frames.manifest import series_of, visible
from leym.frames.shards import codecs
from leym.problems import not_found

_BYTES = [{"name": "bytes", "configuration": {"endian": "little"}}]


def group_json(job: JobLike) -> dict[str, Any]:
    """The group's zarr.json: attributes of the run, and all arrays inline as consolidated metadata."""
    manifest = job.manifest or {}
    attributes = {
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
    return {
        "zarr_format": 3,
        "node_type": "group",
        "attributes": attributes,
        "consolidated_metadata": {
            "kind": "inline",
            "must_understand": False,
            "metadata": dict(_arrays(job)),
        },
    }


def array_json(job: JobLike, name: str) -> dict[str, Any]:
    """An array's zarr.json, as long as it is committed. Raises Problem 404."""
    found = dict(_arrays(job)).get(name)
    if found is None:
        raise not_found("array", name)
    return found


def _arrays(job: JobLike) -> Iterator[tuple[str, dict[str, Any]]]:
    arrays = arrays_of(job)
    dims, counts = step_dims(arrays), visible(series_of(job.manifest, arrays), arrays)
    for array in arrays:
        time, n = dims[array.every], counts[array.name]
        if array.is_table:
            for column in array.columns:
                yield column_name(column), _flat("float64", n, time, "NaN", column_attributes(column))
        else:
            yield array.name, _field(array, n, time)
    for every, time in dims.items():
        n = max(counts[array.name] for array in arrays if array.every == every)
        yield time, _flat("int64", n, time, 0, {"units": "1", "long_name": "step", "every": every})


def _field(array: ArraySpec, n: int, time: str) -> dict[str, Any]:
    return _array(
        array.dtype,
        [n, *array.shape],
        [array.chunk_frames, *array.shape],
        ["NaN", "NaN"] if array.dtype.startswith("complex") else "NaN",
        codecs(array.dtype),
        [time, *array.dims],
        array.attributes,
    )


def _flat(dtype: str, n: int, time: str, fill: Any, attributes: Mapping[str, Any]) -> dict[str, Any]:
    return _array(dtype, [n], [TABLE_ROWS], fill, _BYTES, [time], attributes)


def _array(
    dtype: str,
    shape: list[int],
    chunk: list[int],
    fill: Any,
    codec: Any,
    dims: list[str],
    attributes: Mapping[str, Any],
) -> dict[str, Any]:
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": shape,
        "data_type": dtype,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": chunk}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": fill,
        "codecs": codec,
        "attributes": dict(attributes),
        "dimension_names": dims,
        "storage_transformers": [],
    }
