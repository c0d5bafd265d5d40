"""One file with everything to cite and to reproduce a job or a sweep, written while it is sent.

spec.json                        the job or the sweep, with the version of its law
provenance.json                  see `leym.contract.provenance`
ro-crate-metadata.json           the same for programs that know RO-Crate
laws/NAME@DIGEST/                the bundle of each law that was used, and its verdicts
states/ID.npy                    start states, complex64 [H, W, d]: uploads, and those of other jobs as JOB@STEP.npy
observables.csv, table.csv       the numbers of a job, or of the members of a sweep
frames/FIELD.npy, steps/FIELD.npy     in a zip of a job: its frames and their steps
zarr.json, FIELD/…               in a zarr.zip: the Zarr hierarchy, for `zarr.storage.ZipStore`
store.zarr/…                     in a zip of a sweep: its Zarr hierarchy, as a folder
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import product
from math import ceil
from typing import Any

import numpy as np

from app.downloads import write_npy
from app.provenance import law_of, provenance_of, provenance_of_sweep
from app.services import Services
from app.sweep_tables import table_chunks
from leym.common.table_formats import encoded
from leym.common.tables import delimited
from leym.common.zip_stream import Files, zip_stream
from leym.contract.limits import LIMITS
from leym.contract.problems import Problem
from leym.contract.provenance import KEY
from leym.contract.records import Job, Sweep
from leym.contract.ro_crate import METADATA, ro_crate
from leym.frames import sweep_zarr, zarr_gateway
from leym.frames.kept import load_state
from leym.frames.reader import FrameReader
from leym.frames.states import get_state
from leym.laws.bundle import MANIFEST, WEIGHTS, Bundle

_BLOCK_BYTES = 2**20
Find = Callable[[str], zarr_gateway.Resource]


def job_archive(services: Services, job: Job, reader: FrameReader, format: str) -> Iterator[bytes]:
    """Yield the archive of a job or of a member of a sweep.

    Args:
        services: services of its project.
        job: the job.
        reader: its reader.
        format: "zip" or "zarr.zip".
    """
    origin = provenance_of(services, job)
    ancestors = services.table.ancestors(job) if job.parent else []
    files = _common(services, origin, job.spec | {"law": job.law, "precision": job.precision})
    files |= _laws(services, {one.law: one.precision for one in [*ancestors, job]})
    files |= _states(services, [job.spec, *(one.spec for one in ancestors)])
    if job.spec.get("observe"):
        files["observables.csv"] = lambda: _observables(reader)
    parts: list[str] = []
    if format == "zip":
        for field in reader.fields():
            files |= _frames(reader, field)
    else:

        def find(path: str) -> zarr_gateway.Resource:
            return zarr_gateway.find(services.store, lambda: services.table.get(job.id), path, lambda: {KEY: origin})

        parts = ["zarr.json"]
        return zip_stream(_with_crate(origin, files, parts, _hierarchy(find, "")))
    return zip_stream(_with_crate(origin, files, parts, ()))


def sweep_archive(services: Services, sweep: Sweep, format: str) -> Iterator[bytes]:
    """Yield the archive of a sweep, as `job_archive` does for a job."""
    origin = provenance_of_sweep(services, sweep)
    rows = services.table.blocks(sweep.id) or services.table.sweep_members(sweep.id, LIMITS.table_rows)[0]
    plan = services.table.sweep_plan(sweep.id)
    files = _common(services, origin, sweep.spec) | _laws(services, {row.law: row.precision for row in rows})
    files |= _states(services, [row.spec for row in rows])
    files["table.csv"] = lambda: encoded(table_chunks(services, sweep), "csv")

    def find(path: str) -> zarr_gateway.Resource:
        return sweep_zarr.find(services.store, plan, lambda: rows, path, lambda: {KEY: origin})

    prefix = "store.zarr/" if format == "zip" else ""
    return zip_stream(_with_crate(origin, files, [prefix or "zarr.json"], _hierarchy(find, prefix)))


_Contents = dict[str, Callable[[], Iterable[bytes | memoryview]]]


def _with_crate(origin: Mapping[str, Any], files: _Contents, parts: list[str], more: Files) -> Files:
    """Yield the metadata of the archive, then its files, and then further ones, which `parts` describes."""
    yield METADATA, [_json(ro_crate(origin, [*files, *parts]))]
    for name, read in files.items():
        yield name, read()
    yield from more


def _common(services: Services, origin: Mapping[str, Any], spec: Mapping[str, Any]) -> _Contents:
    return {"spec.json": lambda: [_json(spec)], f"{KEY}.json": lambda: [_json(origin)]}


def _laws(services: Services, used: Mapping[str, str]) -> _Contents:
    """Return the files of laws (name@digest -> precision); one that was removed is left out."""
    files: _Contents = {}
    for reference, precision in used.items():
        bundle = law_of(services, reference)
        if bundle is not None:
            for name in (MANIFEST, WEIGHTS):
                files[f"laws/{reference}/{name}"] = _file(bundle, name)
            verdict = f"fidelity/{precision}.json"
            if (bundle.path / verdict).is_file():
                files[f"laws/{reference}/{verdict}"] = _file(bundle, verdict)
    return files


def _file(bundle: Bundle, name: str) -> Callable[[], Iterator[bytes]]:
    def read() -> Iterator[bytes]:
        with (bundle.path / name).open("rb") as file:
            while block := file.read(_BLOCK_BYTES):
                yield block

    return read


def _states(services: Services, specs: Iterable[Mapping[str, Any]]) -> _Contents:
    """Return the start states that specs name and that are still there."""
    files: _Contents = {}
    for spec in specs:
        initial = spec.get("initial", {})
        uploads = [initial["id"]] if initial.get("kind") == "upload" else []
        uploads += [one["state"] for one in spec.get("interventions", ()) if one.get("state")]
        try:
            for state_id in uploads:
                files[f"states/{state_id}.npy"] = _constant(_npy(get_state(services.store, state_id)))
            if initial.get("kind") == "state":
                source, step = services.table.get(initial["job"]), initial["step"]
                psi = load_state(services.store, source, step)["psi"]
                files[f"states/{source.id}@{step}.npy"] = _constant(_npy(psi))
        except Problem as gone:
            if gone.status != 404:
                raise
    return files


def _frames(reader: FrameReader, field: Mapping[str, Any]) -> _Contents:
    """Return the committed frames of a field and their steps. Frames that are committed later are left out."""
    name, steps = str(field["name"]), reader.steps(str(field["name"]))
    shape = (len(steps), *field["shape"][1:])

    def frames() -> Iterator[bytes | memoryview]:
        yield _npy_header(np.dtype(field["dtype"]), shape)
        stop = int(steps[-1]) + 1 if len(steps) else 0
        for _, frame in reader.frames(name, 0, stop):
            yield np.ascontiguousarray(frame).data.cast("B")

    return {f"frames/{name}.npy": frames, f"steps/{name}.npy": _constant(_npy(steps))}


def _observables(reader: FrameReader) -> Iterator[bytes]:
    steps, values = reader.observables()
    yield delimited([["step", *values]]).encode()
    for start in range(0, len(steps), 1000):
        part = slice(start, start + 1000)
        rows = zip(steps[part].tolist(), *(column[part].tolist() for column in values.values()), strict=True)
        yield delimited(rows).encode()


def _hierarchy(find: Find, prefix: str) -> Iterator[tuple[str, list[bytes]]]:
    """Yield every object of a Zarr hierarchy."""
    root = find("zarr.json")
    yield f"{prefix}zarr.json", [root.body]
    for path, node in json.loads(root.body)["consolidated_metadata"]["metadata"].items():
        yield f"{prefix}{path}/zarr.json", [find(f"{path}/zarr.json").body]
        if node["node_type"] == "array":
            chunks = node["chunk_grid"]["configuration"]["chunk_shape"]
            counts = [range(ceil(n / chunk)) for n, chunk in zip(node["shape"], chunks, strict=True)]
            for numbers in product(*counts):
                key = f"{path}/c/{'/'.join(map(str, numbers))}"
                yield f"{prefix}{key}", [find(key).body]


def _npy(array: np.ndarray[Any, Any]) -> bytes:
    file = io.BytesIO()
    write_npy(file, array.dtype, array.shape, [array])
    return file.getvalue()


def _npy_header(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    file = io.BytesIO()
    write_npy(file, dtype, shape, ())
    return file.getvalue()


def _constant(body: bytes) -> Callable[[], list[bytes]]:
    return lambda: [body]


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, indent=1).encode()
