"""Compares the ledger with the service: no job lost, none twice, no frame different."""

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
    client: Client, entries: list[Entry], streams: list[Stream], truth: dict[str, str], poison: set[str]
) -> dict[str, Any]:
    """Return counts and violations, each in words. truth: digest of each spec's uninterrupted run."""
    found: Counter[str] = Counter()
    violations: list[str] = []
    known = {job.id for job in client.jobs(limit=None)}
    for strange in known - {entry.id for entry in entries}:
        violations.append(f"duplicated: job {strange} exists, but no client was given its id")
    for entry in entries:
        job = client.job(entry.id)
        found[job.state] += 1
        try:
            _check(client, entry, job.as_dict(), truth, poison)
        except AssertionError as error:
            violations.append(f"job {entry.id} ({entry.spec['law']}): {error}")
    violations += filter(None, map(_broken, streams))
    streamed = sum(len(stream.steps) for stream in streams)
    return {"jobs": len(entries), "states": dict(found), "frames_streamed": streamed, "violations": violations}


def _broken(stream: Stream) -> str | None:
    """Return why a stream has gaps; every spec of a storm records something every EVERY steps."""
    if stream.steps == list(range(0, len(stream.steps) * EVERY, EVERY)):
        return None
    return f"job {stream.job}: a reader received the steps {stream.steps}"


def _check(client: Client, entry: Entry, record: dict[str, Any], truth: dict[str, str], poison: set[str]) -> None:
    state = record["state"]
    assert state in FINAL, f"lost: still {state}"
    if entry.id in poison:
        assert state == "failed", f"poison ended as {state}"
        assert record["error"]["title"] == "Poison job", f"poison ended with {record['error']}"
        return
    assert state == "succeeded" or (state == "cancelled" and entry.cancelled), f"ended as {state}: {record['error']}"
    ends = [one for one in entry.states if one in FINAL]
    assert not ends or set(ends) == {state}, f"changed its final state: {entry.states}, now {state}"
    if state == "succeeded":
        assert digest(client, entry.id, entry.spec) == truth[json.dumps(entry.spec)], "its frames differ"
