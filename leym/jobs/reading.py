"""Jobs one by one and in pages."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import func, select

from leym.contract.records import Job, JobState
from leym.jobs.queries import COLUMNS, Base, check_cursor, chunks, jobs_of, page_of
from leym.jobs.schema import jobs
from leym.jobs.schema import tags as of_tags
from leym.jobs.submit import tag_text

Jobs = list[Job]  # `list` means the method below


class Reading(Base):
    def get(self, job_id: str) -> Job:
        """A deleted job too. Raises Problem 404."""
        with self.db.read() as connection:
            return self._job(connection, job_id)

    def find(self, job_ids: Sequence[str]) -> Jobs:
        """In the order of `job_ids`; those that never were are left out."""
        found: dict[str, Job] = {}
        with self.db.read() as connection:
            for some in chunks(job_ids):
                found |= {
                    job.id: job
                    for job in jobs_of(connection, select(*COLUMNS).where(jobs.c.id.in_(some), *self._own()))
                }
        return [found[job_id] for job_id in job_ids if job_id in found]

    def list(
        self,
        *,
        state: JobState | str | None = None,
        law: str | None = None,
        tags: Sequence[tuple[str, str]] | None = None,
        sweep: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> tuple[Jobs, str | None]:
        """A page, newest first, and the cursor of the next one (None: there is none). Deleted jobs are left out.

        `law` is a name, or name@ and the beginning of a digest. `tags` are (key, value), of which a job must have at
        least one. Jobs submitted while someone pages come before the first page: no later page repeats or misses a
        job. Raises Problem 422 for a cursor that is none.
        """
        statement = select(*COLUMNS).where(jobs.c.deleted_at.is_(None), *self._own())
        key = jobs.c.id
        if tags is not None and len(tags) == 1:  # the order of the index of tags is that of the page
            key = of_tags.c.job
            statement = statement.join(of_tags, of_tags.c.job == jobs.c.id).where(of_tags.c.tag == tag_text(*tags[0]))
        elif tags is not None:
            having = select(of_tags.c.job).where(of_tags.c.tag.in_([tag_text(*tag) for tag in tags]))
            statement = statement.where(jobs.c.id.in_(having))
        if state is not None:
            statement = statement.where(jobs.c.state == str(state))
        if law is not None:
            statement = statement.where(jobs.c.law_name == law.partition("@")[0])
            if "@" in law:
                statement = statement.where(func.substr(jobs.c.law, 1, len(law)) == law)
        if sweep is not None:
            statement = statement.where(jobs.c.sweep == sweep)
        if cursor is not None:
            statement = statement.where(key < check_cursor(cursor))
        with self.db.read() as connection:
            return page_of(jobs_of(connection, statement.order_by(key.desc()).limit(limit + 1)), limit)
