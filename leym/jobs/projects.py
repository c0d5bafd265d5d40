"""Projects as a whole: counting their work, and moving all of it to another project."""

from __future__ import annotations

import re

from sqlalchemy import func, literal, select, update

from leym.contract import identity
from leym.contract.problems import invalid
from leym.jobs.queries import Base
from leym.jobs.schema import deliveries, jobs, requests, sweeps
from leym.jobs.submit import key_prefix


class Projects(Base):
    """Operations on all work of a project."""

    def count_work(self, project: str) -> tuple[int, int]:
        """Count the jobs of a project, deleted ones excluded, and its sweeps."""
        kept = select(func.sum(jobs.c.members - jobs.c.moved)).where(
            jobs.c.project == project, jobs.c.deleted_at.is_(None)
        )
        made = select(func.count()).where(sweeps.c.project == project)
        with self.db.read() as connection:
            return int(connection.execute(kept).scalar_one() or 0), connection.execute(made).scalar_one()

    def take_over(self, source: str, target: str) -> tuple[int, int]:
        """Move all jobs and sweeps from project `source` to `target`, with the idempotency keys that created them.

        A key that `target` has used itself keeps its meaning there.

        Returns:
            The number of jobs, deleted ones included, and of sweeps that were moved.

        Raises:
            Problem: 422 if `target` is not a valid name, or is `source`.
        """
        if not re.fullmatch(identity.PROJECT, target):
            raise invalid(f"project = {target[:80]!r}: it must match {identity.PROJECT}", "/project")
        if target == source:
            raise invalid(f"project = {target!r} is the project that has the work already", "/project")
        with self.db.write() as connection:
            ours = (
                requests.c.made.in_(select(jobs.c.id).where(jobs.c.project == source))
                | requests.c.made.in_(select(sweeps.c.id).where(sweeps.c.project == source))
            )  # fmt: skip
            bare = func.substr(requests.c.key, len(key_prefix(source)) + 1)
            renamed = literal(key_prefix(target)) + bare
            free = renamed.not_in(select(requests.c.key))
            connection.execute(update(requests).where(ours, free).values(key=renamed))
            members = select(func.sum(jobs.c.members - jobs.c.moved)).where(jobs.c.project == source)
            moved = int(connection.execute(members).scalar_one() or 0)
            connection.execute(update(jobs).where(jobs.c.project == source).values(project=target))
            connection.execute(update(deliveries).where(deliveries.c.project == source).values(project=target))
            return moved, connection.execute(
                update(sweeps).where(sweeps.c.project == source).values(project=target)
            ).rowcount
