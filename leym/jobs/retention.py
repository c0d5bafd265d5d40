"""How long results are kept: rows of jobs whose ttl_s is over let go of their frames and their checkpoint."""

from __future__ import annotations

import time
from collections.abc import Iterator

from sqlalchemy import Connection, select, update

from leym.contract.records import FINAL, Job
from leym.jobs.dependencies import Sources, hold_off_forks, live_sources
from leym.jobs.queries import COLUMNS, Base, change_job, chunks, jobs_of
from leym.jobs.schema import jobs

_PAGE = 500  # rows read at once


class Retention(Base):
    def sources(self) -> Sources:
        """What live jobs start from, now."""
        with self.db.read() as connection:
            return live_sources(connection)

    def due(self, now: float | None = None) -> list[str]:
        """Jobs that `expire` would let go of: it changes nothing."""
        now = time.time() if now is None else now
        with self.db.read() as connection:
            needed = live_sources(connection).jobs
            return [job.id for job in _kept(connection) if job.expired(now) and job.id not in needed]

    def expire(self, now: float | None = None) -> list[str]:
        """Of every job whose ttl_s is over, forget frames and checkpoint, unless a live job starts from it; the ids.

        Their objects are garbage from then on; the rest of the row stays.
        """
        now = time.time() if now is None else now
        expired = []
        for some in chunks(self.due(now)):
            with self.db.write() as connection:
                hold_off_forks(connection)
                rows = select(*COLUMNS).where(jobs.c.id.in_(some)).order_by(jobs.c.id).with_for_update()
                found, needed = jobs_of(connection, rows), live_sources(connection).jobs
                for job in found:
                    kept = job.manifest or job.checkpoint  # unless another collector was quicker
                    if kept and job.expired(now) and job.id not in needed:
                        change_job(connection, job.id, manifest="{}", checkpoint=None, stored_bytes=0)
                        expired.append(job.id)
        return expired

    def count_stored(self, job_id: str, stored_bytes: int) -> None:
        """Of a job that ended before its bytes were counted. Nothing changes when they were, or are gone by now."""
        uncounted = (jobs.c.id == job_id, jobs.c.state.in_(FINAL), jobs.c.stored_bytes == 0)
        has_results = (jobs.c.manifest != "{}") | jobs.c.checkpoint.is_not(None)
        with self.db.write() as connection:
            connection.execute(update(jobs).where(*uncounted, has_results).values(stored_bytes=stored_bytes))


def _kept(connection: Connection) -> Iterator[Job]:
    """Jobs that have ended, have a ttl_s, and still have results; page by page."""
    states_a_ttl = jobs.c.spec.contains('"ttl_s":', autoescape=True)
    states_none = jobs.c.spec.contains('"ttl_s":null', autoescape=True)  # specs are written without spaces
    has_results = (jobs.c.manifest != "{}") | jobs.c.checkpoint.is_not(None)
    kept = (jobs.c.state.in_(FINAL), jobs.c.deleted_at.is_(None), has_results, states_a_ttl, ~states_none)
    last = ""
    while page := jobs_of(connection, select(*COLUMNS).where(*kept, jobs.c.id > last).order_by(jobs.c.id).limit(_PAGE)):
        yield from page
        last = page[-1].id
