"""Retention of results: jobs whose `ttl_s` is over lose their frames and checkpoints, but keep their rows."""

from __future__ import annotations

import time
from collections.abc import Iterator

from sqlalchemy import Connection, select, update

from leym.contract.records import FINAL, Job
from leym.jobs.dependencies import Dependencies, block_new_dependents, live_dependencies
from leym.jobs.queries import COLUMNS, Base, change_job, chunks, jobs_of
from leym.jobs.schema import jobs

_PAGE = 500  # rows read at once


class Retention(Base):
    """Expiry of results, and what live jobs still need."""

    def dependencies(self) -> Dependencies:
        """Read the jobs and uploaded states that live jobs start from."""
        with self.db.read() as connection:
            return live_dependencies(connection, self.plans)

    def expirable(self, now: float | None = None) -> list[str]:
        """Return the ids of the jobs whose results `expire` would remove."""
        now = time.time() if now is None else now
        with self.db.read() as connection:
            needed = live_dependencies(connection, self.plans).jobs
            return [job.id for job in _kept(connection) if job.expired(now) and job.id not in needed]

    def expire(self, now: float | None = None) -> list[str]:
        """Remove frames and checkpoints from the rows of jobs whose `ttl_s` is over, unless live jobs start from them.

        The objects are garbage from then on (`leym.frames.garbage`).

        Returns:
            Ids of the jobs that lost their results.
        """
        now = time.time() if now is None else now
        expired = []
        for some in chunks(self.expirable(now)):
            with self.db.write() as connection:
                block_new_dependents(connection)
                rows = select(*COLUMNS).where(jobs.c.id.in_(some)).order_by(jobs.c.id).with_for_update()
                found, needed = jobs_of(connection, rows), live_dependencies(connection, self.plans).jobs
                for job in found:
                    kept = job.manifest or job.checkpoint  # another collector may have been faster
                    if kept and job.expired(now) and job.id not in needed:
                        change_job(connection, job.id, manifest="{}", checkpoint=None, stored_bytes=0)
                        expired.append(job.id)
        return expired

    def set_stored_bytes(self, job_id: str, stored_bytes: int) -> None:
        """Set the size of the results of an ended job, unless the row has a size already or has no results."""
        uncounted = (jobs.c.id == job_id, jobs.c.state.in_(FINAL), jobs.c.stored_bytes == 0)
        has_results = (jobs.c.manifest != "{}") | jobs.c.checkpoint.is_not(None)
        with self.db.write() as connection:
            connection.execute(update(jobs).where(*uncounted, has_results).values(stored_bytes=stored_bytes))


def _kept(connection: Connection) -> Iterator[Job]:
    """Iterate over ended jobs with a `ttl_s` that still have results, one page in memory at a time."""
    states_a_ttl = jobs.c.spec.contains('"ttl_s":', autoescape=True)
    states_none = jobs.c.spec.contains('"ttl_s":null', autoescape=True)  # specs are written without spaces
    has_results = (jobs.c.manifest != "{}") | jobs.c.checkpoint.is_not(None)
    kept = (jobs.c.state.in_(FINAL), jobs.c.deleted_at.is_(None), has_results, states_a_ttl, ~states_none)
    last = ""
    while page := jobs_of(connection, select(*COLUMNS).where(*kept, jobs.c.id > last).order_by(jobs.c.id).limit(_PAGE)):
        yield from page
        last = page[-1].id
