"""Compares the ledger with the service: no job lost, none twice, no frame different."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from leym.client import Client
from leym.client.job import Job
from tests.chaos.client import Entry, Stream, expanded, insist

EVERY = 20  # steps between two frames of a stream
FINAL = {"succeeded", "failed", "cancelled"}


def digest(client: Client, job_id: str, spec: dict[str, Any]) -> str:
    """Hash everything that a job recorded. Raises AssertionError if steps are missing, repeated or out of order."""
    job = client.job(job_id)
    found = hashlib.sha256()
    for recording in spec["record"]:
        steps, frames = job.array(recording["field"])
        expected = range(0, spec["steps"] + 1, recording["every"])
        assert steps.tolist() == list(expected), f"{recording['field']}: {len(steps)} of {len(expected)} steps"
        found.update(np.ascontiguousarray(frames).tobytes())
    for name, values in sorted(job.series().items()):
        found.update(name.encode() + np.ascontiguousarray(values).tobytes())
    return found.hexdigest()


def check_ledger(
    client: Client, entries: list[Entry], streams: list[Stream], truth: dict[str, str], poison: int | None = None
) -> dict[str, Any]:
    """Return counts and violations, each in words.

    truth: digest of each spec's uninterrupted run as a job of its own. poison: seed of the jobs that cannot succeed.
    """
    found: Counter[str] = Counter()
    violations: list[str] = []
    known = {job.id for job in client.jobs(limit=None)} | set(_sweep_ids(client))
    for strange in known - {entry.id for entry in entries}:
        violations.append(f"duplicated: {strange} exists, but no client was given its id")
    members = 0
    for entry in entries:
        try:
            jobs = _members(client, entry) if entry.is_sweep else [(client.job(entry.id), entry.spec, entry.cancelled)]
        except AssertionError as error:
            violations.append(f"sweep {entry.id}: {error}")
            continue
        members += len(jobs) if entry.is_sweep else 0
        for job, spec, cancelled in jobs:
            found[job.state] += 1
            try:
                _check(client, job, spec, cancelled, entry.states, truth, poison)
            except AssertionError as error:
                violations.append(f"job {job.id} ({spec['law']}) of {entry.path}/{entry.id}: {error}")
    violations += filter(None, map(_broken, streams))
    streamed = sum(len(stream.steps) for stream in streams)
    singles = sum(not entry.is_sweep for entry in entries)
    counts = {"jobs": singles, "sweeps": len(entries) - singles, "members": members, "states": dict(found)}
    return counts | {"frames_streamed": streamed, "violations": violations}


def _sweep_ids(client: Client) -> Iterator[str]:
    cursor: str | None = ""
    while cursor is not None:
        page = insist(client.url, "GET", f"/v1/sweeps?limit=100{cursor and '&cursor=' + cursor}")
        yield from (sweep["id"] for sweep in page["items"])
        cursor = page["next"]


def _members(client: Client, entry: Entry) -> list[tuple[Job, dict[str, Any], bool]]:
    """Return the members of a sweep with their specs, and whether each may have been cancelled.

    Raises AssertionError if one is missing, is there twice or is another.
    """
    sweep, specs = client.get_sweep(entry.id), expanded(entry.spec)
    assert sweep.size == len(specs), f"{sweep.size} of {len(specs)} members"
    jobs = [sweep.member(index) for index in range(sweep.size)]
    assert len({job.id for job in jobs}) == len(jobs), "two members are one job"
    assert sweep.counts == dict.fromkeys(sweep.counts, 0) | Counter(job.state for job in jobs), f"it has {sweep.counts}"
    for index, (job, spec) in enumerate(zip(jobs, specs, strict=True)):
        own = {key: job.spec[key] for key in entry.spec["axes"]}
        assert own == {key: spec[key] for key in own}, f"member {index} has {own}"
    rows = sweep.table("rows")
    assert [(row["index"], row["id"], row["state"]) for row in rows] == [
        (index, job.id, job.state) for index, job in enumerate(jobs)
    ], "its table has other members"
    gone = [entry.cancelled or index in entry.members_cancelled for index in range(sweep.size)]
    return list(zip(jobs, specs, gone, strict=True))


def _broken(stream: Stream) -> str | None:
    """Return why a stream has gaps; every spec of a storm records something every EVERY steps."""
    if stream.steps == list(range(0, len(stream.steps) * EVERY, EVERY)):
        return None
    return f"job {stream.job}: a reader received the steps {stream.steps}"


def _check(
    client: Client,
    job: Job,
    spec: dict[str, Any],
    cancelled: bool,
    states: list[str],
    truth: dict[str, str],
    poison: int | None,
) -> None:
    assert job.state in FINAL, f"lost: still {job.state}"
    if spec["seed"] == poison:
        assert job.state == "failed", f"poison ended as {job.state}"
        assert job.error is not None
        assert job.error["title"] == "Poison job", f"poison ended with {job.error}"
        return
    assert job.state == "succeeded" or (job.state == "cancelled" and cancelled), f"ended as {job.state}: {job.error}"
    ends = [one for one in states if one in FINAL]
    assert not ends or set(ends) == {job.state}, f"changed its final state: {states}, now {job.state}"
    if job.state == "succeeded":
        assert digest(client, job.id, spec) == truth[json.dumps(spec)], "its frames differ"
