"""Dependencies of live jobs: the job or the uploaded state that their start state comes from.

Submitting a job and removing the job that it starts from exclude each other. SQLite has one writer at a time;
PostgreSQL takes the lock of this module.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, select, text

from leym.contract.problems import invalid
from leym.contract.records import LIVE, Job
from leym.jobs.queries import COLUMNS, chunks, jobs_of
from leym.jobs.schema import jobs

_LOCK = "hashtext('leym sources')"


@dataclass(frozen=True)
class Dependencies:
    """Jobs and uploaded states that live jobs start from.

    Attributes:
        jobs: ids of the live jobs, by the id of the job that they start from.
        states: ids of the uploaded states.
    """

    jobs: Mapping[str, Sequence[str]]
    states: frozenset[str]


def live_dependencies(connection: Connection) -> Dependencies:
    """Read the dependencies of all live jobs.

    They may change at any time unless the transaction has called `block_new_dependents`.
    """
    stored = jobs.c.spec.contains('"kind":"state"') | jobs.c.spec.contains('"kind":"upload"')
    rows = connection.execute(select(jobs.c.id, jobs.c.spec).where(jobs.c.state.in_(LIVE), stored).order_by(jobs.c.id))
    found: dict[str, list[str]] = {}
    states = set()
    for row in rows:
        initial = json.loads(row.spec).get("initial", {})  # a fidelity job has no start state
        if initial.get("kind") == "state":
            found.setdefault(initial["job"], []).append(row.id)
        elif initial.get("kind") == "upload":
            states.add(initial["id"])
    return Dependencies(found, frozenset(states))


def block_new_dependents(connection: Connection) -> None:
    """Keep other transactions from submitting jobs that start from another job, until this one ends."""
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))


def check_dependencies(connection: Connection, new: Sequence[Job], now: float) -> None:
    """Check that the jobs that the `new` ones start from still have their results.

    Raises:
        Problem: 422 if results are gone since the request was validated.
    """
    wanted = sorted({job.spec["initial"]["job"] for job in new if job.spec.get("initial", {}).get("kind") == "state"})
    if not wanted:
        return
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SELECT pg_advisory_xact_lock_shared({_LOCK})"))
    for some in chunks(wanted):
        for source in jobs_of(connection, select(*COLUMNS).where(jobs.c.id.in_(some))):
            removed = source.final and not source.manifest and not source.checkpoint  # perhaps by a clock ahead of ours
            if why := source.gone(now) or ("are gone" if removed else None):
                raise invalid(f"initial.job = {source.id!r}: its results {why}", "/initial/job")
