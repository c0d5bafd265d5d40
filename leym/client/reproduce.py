"""Computes a job again from its exported file, on any service, and compares every bit."""

from __future__ import annotations

import csv
import io
import json
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from leym.client.client import Client
from leym.client.errors import ProblemError
from leym.client.job import Job
from leym.client.laws import MANIFEST, WEIGHTS
from leym.client.verify import Comparison, compare_arrays

IRRELEVANT = ("webhook", "deadline_s", "ttl_s", "reuse", "tags")  # keys that do not decide the results
RECORDED = ("record", "observe", "keep_states")


@dataclass(frozen=True)
class Reproduction:
    """The outcome of a reproduction.

    Attributes:
        job: the new job.
        original: id of the job in the file.
        arrays: one comparison per field and observable.
        laws: laws that were added to the service, as name@digest.
    """

    job: Job
    original: str
    arrays: list[Comparison]
    laws: list[str]

    @property
    def identical(self) -> bool:
        """True if all bits are equal."""
        return all(one.identical for one in self.arrays)


def reproduce(client: Client, path: str | Path, timeout: float | None = None) -> Reproduction:
    """Compute the job of an exported zip on a service, and compare all frames and observables.

    Laws that the service lacks are added. The jobs that the job continues are computed first, up to the step from which
    it goes on.

    Args:
        client: the service.
        path: a zip that `Job.export` saved.
        timeout: seconds to wait for each job at most.

    Raises:
        ValueError: the file is no such zip, has nothing to compare, or lacks a law or a start state.
        JobFailed: a job failed.
        TimeoutError: a job has not ended after `timeout` seconds.
    """
    with _opened(path) as archive:
        origin = json.loads(archive.read("provenance.json"))
        if origin.get("kind") != "job":
            raise ValueError(f"{path} has a {origin.get('kind')}; only a job can be reproduced")
        if not (origin["spec"].get("record") or origin["spec"].get("observe")):
            raise ValueError(f"{path}: the job recorded nothing, so that there is nothing to compare")
        added: list[str] = []
        chain = [*origin["lineage"], origin]
        laws = {one["law"]: _law(client, archive, one["law"], added) for one in chain}
        known: dict[str, str] = {}  # id in the file -> id here
        for above, below in pairwise(chain):
            until = int(below["spec"]["initial"]["step"])
            spec = {key: value for key, value in above["spec"].items() if key not in RECORDED} | {"steps": until}
            spec["interventions"] = [one for one in spec.get("interventions") or [] if one["step"] < until]
            known[above["id"]] = _run(client, archive, {**above, "spec": spec}, laws, known, timeout).id
        job = _run(client, archive, origin, laws, known, timeout)
        return Reproduction(job, origin["id"], list(_compared(archive, origin, job)), added)


@contextmanager
def _opened(path: str | Path) -> Iterator[zipfile.ZipFile]:
    try:
        archive = zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise ValueError(f"{path} is not a complete zip: {error}") from error
    with archive:
        names = set(archive.namelist())
        if "provenance.json" not in names:
            raise ValueError(f"{path} is not an export: it has no provenance.json")
        if "zarr.json" in names:
            raise ValueError(f"{path} has its frames as Zarr: export the job as zip to reproduce it")
        yield archive


def _law(client: Client, archive: zipfile.ZipFile, reference: str, added: list[str]) -> str:
    """Return the reference of a law on the service, which gets it from the archive if it does not have it."""
    name, _, digest = reference.partition("@")
    versions: list[str] = []
    for known in (name, f"{name}-{digest[:8]}"):
        try:
            found = list(client.law(known)["versions"])
        except ProblemError as error:
            if error.status != 404:
                raise
            continue
        if f"{known}@{digest}" in found:
            return f"{known}@{digest}"
        versions += found
    # a further version of a law of that name would change what the name means there
    name = f"{name}-{digest[:8]}" if versions else name
    with tempfile.TemporaryDirectory() as folder:
        for file in (MANIFEST, WEIGHTS):
            try:
                Path(folder, file).write_bytes(archive.read(f"laws/{reference}/{file}"))
            except KeyError as error:
                raise ValueError(f"the service has no law {reference}, and the file lacks it") from error
        added.append(str(client.add_law(folder, name, digest=digest)["ref"]))
    return added[-1]


def _run(
    client: Client,
    archive: zipfile.ZipFile,
    wanted: Mapping[str, Any],
    laws: Mapping[str, str],
    known: Mapping[str, str],
    timeout: float | None,
) -> Job:
    """Submit a job of the file, and wait for it."""
    spec = {key: value for key, value in wanted["spec"].items() if value is not None and key not in IRRELEVANT}
    initial = dict(spec.get("initial", {}))
    if initial.get("kind") == "continue":
        spec["initial"] = initial | {"job": known[initial["job"]]}
    elif initial.get("kind") == "state":
        spec["initial"] = {"kind": "upload", "id": _state(client, archive, f"{initial['job']}@{initial['step']}")}
    elif initial.get("kind") == "upload":
        spec["initial"] = {"kind": "upload", "id": _state(client, archive, initial["id"])}
    for change in spec.get("interventions", ()):
        if change.get("state"):
            change["state"] = _state(client, archive, change["state"])
    exact = {"law": laws[wanted["law"]], "precision": wanted["precision"], "tags": {"reproduces": wanted["id"]}}
    return client.submit(**spec | exact).wait(timeout)


def _state(client: Client, archive: zipfile.ZipFile, name: str) -> str:
    """Upload a start state of the archive, and return its id."""
    try:
        psi = np.load(io.BytesIO(archive.read(f"states/{name}.npy")), allow_pickle=False)
    except KeyError as error:
        raise ValueError(f"the start state {name} was gone when the file was made: it cannot be reproduced") from error
    return client.upload_state(psi)


def _compared(archive: zipfile.ZipFile, origin: Mapping[str, Any], job: Job) -> Iterator[Comparison]:
    for name in (recording["field"] for recording in origin["spec"].get("record", [])):
        steps, mine = (
            np.load(io.BytesIO(archive.read(f"{part}/{name}.npy")), allow_pickle=False) for part in ("steps", "frames")
        )
        yield compare_arrays(name, steps, mine, *job.array(name))
    if "observables.csv" in archive.namelist():
        with archive.open("observables.csv") as file:
            header, *rows = csv.reader(io.TextIOWrapper(file, "utf-8"))
        columns = dict(zip(header, np.array(rows, np.float64).reshape(-1, len(header)).T, strict=True))
        steps, theirs = columns.pop("step").astype(np.int64), job.series()
        for name, values in columns.items():
            yield compare_arrays(name, steps, np.ascontiguousarray(values), theirs["step"], theirs[name])
