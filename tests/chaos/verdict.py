"""The ledger against the service: nothing lost, nothing twice, nothing different."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from typing import Any

import numpy as np

from leym.client import Client
from tests.chaos.client import Entry, Stream

EVERY = 20  # steps between two frames of a stream
FINAL = {"succeeded", "failed", "cancelled"}


def digest(client: Client, job_id: str, spec: dict[str, Any]) -> str:
    """Of everything that the job recorded. Raises AssertionError if steps are missing, twice or out of order."""
    job = client.job(job_id)
    found = hashlib.sha256()
    for recording in spec["record"]:
        steps, frames = job.array(recording["field"])
        due = range(0, spec["steps"] + 1, recording["every"])
        assert steps.tolist() == list(due), f"{recording['field']}: {len(steps)} of {len(due)} steps"
        found.update(np.ascontiguousarray(frames).tobytes())
    for name, values in sorted(job.series().items()):
        found.update(name.encode() + np.ascontiguousarray(values).tobytes())
    return found.hexdigest()


def hold_against(
    client: Client, entries: list[Entry], streams: list[Stream], truth: dict[str, str], poison: set[str]
) -> dict[str, Any]:
    """violations: what broke a promise, in words. truth: digest of each spec's uninterrupted run."""
    found: Counter[str] = Counter()
    violations: list[str] = []
    known = {job.id for job in client.jobs(limit=None)}
    for strange in known - {entry.id for entry in entries}:
        violations.append(f"duplicated: job {strange} was made and never told to anybody")
    for entry in entries:
        job = client.job(entry.id)
        found[job.state] += 1
        try:
            _hold(client, entry, job.as_dict(), truth, poison)
        except AssertionError as error:
            violations.append(f"job {entry.id} ({entry.spec['law']}): {error}")
    violations += filter(None, map(_broken, streams))
    told = sum(len(stream.steps) for stream in streams)
    return {"jobs": len(entries), "states": dict(found), "frames_streamed": told, "violations": violations}


def _broken(stream: Stream) -> str | None:
    """All specs of a storm record something every EVERY steps; a reader may have been cut off at any of them."""
    if stream.steps == list(range(0, len(stream.steps) * EVERY, EVERY)):
        return None
    return f"job {stream.job}: a reader was told of the steps {stream.steps}"


def _hold(client: Client, entry: Entry, record: dict[str, Any], truth: dict[str, str], poison: set[str]) -> None:
    state = record["state"]
    assert state in FINAL, f"lost: still {state}"
    if entry.id in poison:
        assert state == "failed", f"poison ended as {state}"
        assert record["error"]["title"] == "Poison job", f"poison ended as {state}"
        return
    assert state == "succeeded" or (state == "cancelled" and entry.cancelled), f"ended as {state}: {record['error']}"
    ends = [one for one in entry.states if one in FINAL]
    assert not ends or set(ends) == {state}, f"changed its final state: {entry.states}, now {state}"
    if state == "succeeded":
        assert digest(client, entry.id, entry.spec) == truth[json.dumps(entry.spec)], "its frames differ"
