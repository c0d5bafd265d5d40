"""Lineages: jobs that continue other jobs, as a tree.

The row of a job that continues another one names it (`parent`) and the step from which it goes on (`begins_at`). Rows
outlive their results, so a lineage is complete even if jobs of it were deleted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, select

from leym.contract.problems import not_found
from leym.contract.records import Job
from leym.jobs.members import find_any, get_any, visible
from leym.jobs.queries import COLUMNS, Base, PlanCache, chunks, jobs_of
from leym.jobs.schema import jobs


class Lineage(Base):
    """Ancestors and descendants of jobs."""

    def ancestors(self, job: Job) -> list[Job]:
        """Return the job that `job` continues, the one which that one continues, and so on; the first one is last.

        Deleted jobs are among them.
        """
        with self.db.read() as connection:
            return ancestors_of(connection, self.plans, job)

    def lineage(self, job_id: str, most: int) -> tuple[list[Job], bool]:
        """Return the tree of jobs to which a job belongs, deleted ones included.

        Args:
            job_id: the job.
            most: number of jobs that are returned at most, besides the job and its ancestors.

        Returns:
            The jobs, each after the one that it continues; and True if there are more.

        Raises:
            Problem: 404 if there is no such job.
        """
        with self.db.read() as connection:
            job = get_any(connection, self.plans, job_id, self.project)
            path = [*reversed(ancestors_of(connection, self.plans, job)), job]
            found, level = {one.id: one for one in path}, [path[0].id]
            while level:
                children = list[Job]()
                for some in chunks(level):
                    left = most + len(path) + 1 - len(found) - len(children)
                    statement = select(*COLUMNS).where(jobs.c.parent.in_(some), *self._own())
                    children += jobs_of(connection, statement.order_by(jobs.c.id).limit(max(left, 0)))
                found |= {child.id: child for child in children}
                level = [child.id for child in children]
            listed = list(found.values())
            more = len(listed) > most + len(path)
            return _parents_first(listed[: most + len(path)]), more


def ancestors_of(connection: Connection, plans: PlanCache, job: Job) -> list[Job]:
    """Return the jobs that a job continues, the nearest first. Errors are those of `first_of`."""
    found: list[Job] = []
    while (parent := job.parent) is not None:
        above = find_any(connection, plans, parent)
        if above is None or not visible(above, job.project):
            raise not_found("job", parent)
        found.append(above)
        job = above
    return found


def first_start(connection: Connection, plans: PlanCache, initial: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the start state of the first job of a lineage, by the start state of a job of it."""
    while initial.get("kind") == "continue":
        above = find_any(connection, plans, str(initial["job"]))
        if above is None:
            return initial
        initial = above.spec.get("initial", {})
    return initial


def _parents_first(found: list[Job]) -> list[Job]:
    """Sort jobs so that each follows the one that it continues. Ids grow with time, but for members that were added."""
    listed, left = list[Job](), {job.id: job for job in sorted(found, key=lambda job: job.id)}
    while left:
        ready = [job for job in left.values() if job.parent not in left]
        listed += ready
        for job in ready:
            del left[job.id]
    return listed
