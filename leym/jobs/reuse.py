"""Reuse of results: finds jobs that compute the same universe, to the same step or to an earlier one.

A run is deterministic: law, precision, grid, start state, seed, gamma and everything else in the spec decide each bit.
`reuse_key` is a digest over these, without the number of steps. A job that continues another one, and differs from it
in its steps only, has the key of that job.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy import ColumnElement, Connection, select, text

from leym.contract.records import Job, JobState
from leym.jobs.members import find_any
from leym.jobs.queries import COLUMNS, Base, PlanCache, digest, jobs_of
from leym.jobs.schema import jobs

# Keys of a spec that change neither the universe nor what is stored of it. All others count, those of later versions
# too.
_IRRELEVANT = frozenset(
    {
        "law",
        "precision",
        "steps",
        "initial",
        "priority",
        "deadline_s",
        "ttl_s",
        "tags",
        "name",
        "note",
        "webhook",
        "reuse",
    }
)
_CANDIDATES = 20  # jobs that are looked at


class Reuse(Base):
    """Search for jobs that have computed a universe."""

    def find_prefix(self, job: Job, now: float | None = None) -> Job | None:
        """Find the job that has come furthest with the universe of a new job, short of its last step.

        Args:
            job: the new job (`Submit.draft`).
            now: time at which results must not have expired.

        Returns:
            A job that has succeeded and has its last state; None if there is none, or if a job has the same last step.
        """
        now = time.time() if now is None else now
        with self.db.read() as connection:
            key = reuse_key(connection, self.plans, job)
            if key is None or same_job(connection, job, key, now):
                return None
            shorter = (jobs.c.steps < job.steps, jobs.c.steps > job.begins_at, jobs.c.state == JobState.SUCCEEDED)
            found = _candidates(connection, job, key, *shorter)
            return next((one for one in found if one.checkpoint and not one.gone(now)), None)


def same_job(connection: Connection, job: Job, key: str, now: float) -> Job | None:
    """Find a job of the same project that has run, or runs, the same universe to the same step.

    On PostgreSQL, other transactions with the same key wait until this one ends.

    Args:
        connection: the transaction.
        job: the new job.
        key: its `reuse_key`.
        now: time at which results must not have expired.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtext(:name))"), {"name": f"leym reuse {key}"})
    states = (JobState.SUCCEEDED, JobState.RUNNING, JobState.QUEUED)
    found = _candidates(connection, job, key, jobs.c.steps == job.steps, jobs.c.state.in_(states))
    usable = [one for one in found if not one.gone(now) and (one.manifest or not one.final)]
    return min(usable, key=lambda one: (states.index(one.state), one.id), default=None)


def reuse_key(connection: Connection, plans: PlanCache, job: Job) -> str | None:
    """Return the digest of the universe of a job; None for jobs that are no simulations of their own."""
    if job.is_fidelity or job.is_training or job.sweep or job.is_block:
        return None
    if job.parent is not None:
        above = find_any(connection, plans, job.parent)
        if above is not None and _universe(above) == _universe(job):
            return connection.execute(select(jobs.c.reuse_key).where(jobs.c.id == job.parent)).scalar() or _key(job)
    return _key(job)


def _candidates(connection: Connection, job: Job, key: str, *conditions: ColumnElement[bool]) -> Iterator[Job]:
    """Iterate over jobs with this key, those with the most steps first."""
    mine = (jobs.c.reuse_key == key, jobs.c.project == job.project, jobs.c.deleted_at.is_(None))
    order = (jobs.c.steps.desc(), jobs.c.id)
    statement = select(*COLUMNS).where(*mine, *conditions).order_by(*order).limit(_CANDIDATES)
    wanted = _universe(job)
    # a job that was steered while it ran has a spec that says so, but the key of before
    return (one for one in jobs_of(connection, statement) if _universe(one) == wanted)


def _universe(job: Job) -> Mapping[str, Any]:
    """Return everything but the start state that decides the bits of a job and what is stored of it."""
    own = {key: value for key, value in job.spec.items() if key not in _IRRELEVANT and value not in (None, [], {})}
    return own | {"law": job.law, "precision": job.precision}


def _key(job: Job) -> str:
    return digest({**_universe(job), "initial": job.spec.get("initial")})
