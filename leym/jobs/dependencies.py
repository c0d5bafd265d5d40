"""What jobs start from. A live job needs the job, or the uploaded state, that its first state is taken from.

Submitting a fork and removing its source exclude each other: SQLite has one writer at a time, PostgreSQL this lock.
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
class Sources:
    """jobs: each source with the live jobs that start from it. states: ids of uploads that live jobs start from."""

    jobs: Mapping[str, Sequence[str]]
    states: frozenset[str]


def live_sources(connection: Connection) -> Sources:
    """Under `hold_off_forks`, or what it says may be old by the time it is used."""
    stored = jobs.c.spec.contains('"kind":"state"') | jobs.c.spec.contains('"kind":"upload"')
    rows = connection.execute(select(jobs.c.id, jobs.c.spec).where(jobs.c.state.in_(LIVE), stored).order_by(jobs.c.id))
    found: dict[str, list[str]] = {}
    states = set()
    for row in rows:
        initial = json.loads(row.spec).get("initial", {})  # a fidelity job has none
        if initial.get("kind") == "state":
            found.setdefault(initial["job"], []).append(row.id)
        elif initial.get("kind") == "upload":
            states.add(initial["id"])
    return Sources(found, frozenset(states))


def hold_off_forks(connection: Connection) -> None:
    """Until the transaction ends, no job that starts from another's state is taken in."""
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))


def check_sources(connection: Connection, new: Sequence[Job], now: float) -> None:
    """Raises Problem 422 if a job that one of the `new` ones starts from was removed since they were looked at."""
    wanted = sorted({job.spec["initial"]["job"] for job in new if job.spec.get("initial", {}).get("kind") == "state"})
    if not wanted:
        return
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SELECT pg_advisory_xact_lock_shared({_LOCK})"))
    for some in chunks(wanted):
        for source in jobs_of(connection, select(*COLUMNS).where(jobs.c.id.in_(some))):
            let_go = source.final and not source.manifest and not source.checkpoint  # also by a clock ahead of ours
            if why := source.gone(now) or ("are gone" if let_go else None):
                raise invalid(f"initial.job = {source.id!r}: its results {why}", "/initial/job")
