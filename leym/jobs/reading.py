"""Queries for jobs: one, several, or a page of a list."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import func, select

from leym.contract.problems import invalid
from leym.contract.records import Job, JobState
from leym.jobs.labels import labelled
from leym.jobs.members import find_member, get_any, visible
from leym.jobs.queries import COLUMNS, check_cursor, chunks, jobs_of, page_of
from leym.jobs.schema import jobs
from leym.jobs.schema import tags as of_tags
from leym.jobs.submit import tag_text
from leym.jobs.sweep_members import SweepMembers

Jobs = list[Job]  # inside the class, `list` is the method


class Reading(SweepMembers):
    """Queries for jobs."""

    def get(self, job_id: str) -> Job:
        """Read a job or a member of a sweep, which may be a deleted one. Projects do not see the rows of blocks.

        Raises:
            Problem: 404 if there is no such job.
        """
        with self.db.read() as connection:
            return get_any(connection, self.plans, job_id, self.project)

    def find(self, job_ids: Sequence[str]) -> Jobs:
        """Read jobs in the order of `job_ids`, deleted ones included; unknown ids are skipped."""
        found: dict[str, Job] = {}
        with self.db.read() as connection:
            for some in chunks(job_ids):
                found |= {
                    job.id: job
                    for job in jobs_of(connection, select(*COLUMNS).where(jobs.c.id.in_(some), *self._own()))
                }
            for job_id in job_ids:
                member = None if job_id in found else find_member(connection, self.plans, job_id)
                if member:
                    found[job_id] = member
        return [found[id] for id in job_ids if id in found and visible(found[id], self.project)]

    def list(
        self,
        *,
        state: JobState | str | None = None,
        law: str | None = None,
        tags: Sequence[tuple[str, str]] | None = None,
        sweep: str | None = None,
        blocks: bool = False,
        starred: bool | None = None,
        q: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> tuple[Jobs, str | None]:
        """Read a page of jobs, newest first, without deleted ones.

        New jobs come before the first page, so later pages neither repeat nor miss a job. Members of a sweep are listed
        with `sweep` only, except those of sweeps of version 0.1.0.

        Args:
            state: only jobs in this state.
            law: only jobs of this law: a name, or name@ and the beginning of a digest.
            tags: only jobs with at least one of these (key, value).
            sweep: only jobs of this sweep.
            blocks: also the rows of blocks; for callers that look after leases, stored objects or laws.
            starred: only jobs with a star, or only those without.
            q: only jobs with this text in their name, note or tags.
            limit: most jobs of the page.
            cursor: cursor that came with the previous page.

        Returns:
            The jobs, and the cursor of the next page; None if there is none.

        Raises:
            Problem: 422 for an invalid cursor, and for `starred` or `q` with a sweep, whose members have no labels.
        """
        if sweep is not None and (starred is not None or q is not None):
            raise invalid("starred and q select single jobs and sweeps: the members of a sweep have no names", "/sweep")
        if sweep is not None and (members := self.members_in(sweep, state, law, tags, limit, cursor)) is not None:
            return members
        statement = select(*COLUMNS).where(jobs.c.deleted_at.is_(None), *self._own())
        if not blocks:
            statement = statement.where(jobs.c.indices.is_(None))
        statement, key = statement.where(*labelled(jobs, starred, q)), jobs.c.id
        if tags is not None and len(tags) == 1:  # the index of tags has the order of the page
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
