"""Pages of the members of sweeps that consist of blocks. Only the members of a page become jobs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, select

from leym.contract.ids import distance
from leym.contract.problems import Problem, not_found
from leym.contract.records import Job, JobState
from leym.contract.sweep_plan import SweepPlan
from leym.jobs.members import BlockRow, load_plan, views
from leym.jobs.queries import COLUMNS, Base, check_cursor, chunks, job_of, jobs_of
from leym.jobs.schema import jobs, sweeps


class SweepMembers(Base):
    """Queries for members of sweeps."""

    def sweep_plan(self, sweep_id: str) -> SweepPlan:
        """Return the plan of a sweep, which stays in memory while it is used.

        Raises:
            Problem: 404 if there is no such sweep.
        """
        with self.db.read() as connection:
            self._sweep_size(connection, sweep_id)
            return load_plan(connection, self.plans, sweep_id)

    def blocks(self, sweep_id: str) -> list[Job]:
        """Return the rows of a sweep's blocks, oldest first: the newest one that has a member counts."""
        statement = select(*COLUMNS).where(jobs.c.sweep == sweep_id, jobs.c.indices.is_not(None), *self._own())
        with self.db.read() as connection:
            return [job_of(row) for row in connection.execute(statement.order_by(jobs.c.id)).mappings()]

    def first_block(self, sweep_id: str) -> Job | None:
        """Return the row of a sweep's oldest block; None for a sweep of version 0.1.0, which has none."""
        mine = (jobs.c.sweep == sweep_id, jobs.c.indices.is_not(None), *self._own())
        with self.db.read() as connection:
            row = connection.execute(select(*COLUMNS).where(*mine).order_by(jobs.c.id).limit(1)).mappings().first()
        return None if row is None else job_of(row)

    def rows_of_blocks(self, ids: Sequence[str]) -> list[Job]:
        """Return the rows of some blocks in the order of their ids; unknown ids are skipped."""
        found: list[Job] = []
        with self.db.read() as connection:
            for some in chunks(sorted(ids)):
                chosen = (jobs.c.id.in_(some), jobs.c.indices.is_not(None), *self._own())
                found += jobs_of(connection, select(*COLUMNS).where(*chosen).order_by(jobs.c.id))
        return found

    def members_at(self, sweep_id: str, indices: Sequence[int]) -> list[Job]:
        """Return members of a sweep of blocks in the order of `indices`, deleted ones included.

        Raises:
            Problem: 404 if there is no such sweep.
        """
        with self.db.read() as connection:
            self._sweep_size(connection, sweep_id)
            return views(connection, load_plan(connection, self.plans, sweep_id), sweep_id, indices)

    def member(self, sweep_id: str, index: int) -> Job:
        """Return one member of a sweep, by its index.

        Raises:
            Problem: 404 if there is no such sweep or member.
        """
        with self.db.read() as connection:
            size, blocks = self._sweep_size(connection, sweep_id)
            if not 0 <= index < size:
                raise Problem(404, "Not found", f"index = {index}: sweep {sweep_id} has the members 0 to {size - 1}")
            if blocks:
                return views(connection, load_plan(connection, self.plans, sweep_id), sweep_id, [index])[0]
            rows = select(*COLUMNS).where(jobs.c.sweep == sweep_id).order_by(jobs.c.id).offset(index).limit(1)
            return job_of(connection.execute(rows).mappings().one())

    def members_in(
        self,
        sweep_id: str,
        state: JobState | str | None,
        law: str | None,
        tags: Sequence[tuple[str, str]] | None,
        limit: int,
        cursor: str | None,
    ) -> tuple[list[Job], str | None] | None:
        """Read a page of members, those with the greatest index first, as `Reading.list` does with its filters.

        Returns:
            The members, and the cursor of the next page; None for a sweep whose members are rows, or that is unknown.
        """
        with self.db.read() as connection:
            row = connection.execute(select(sweeps).where(sweeps.c.id == sweep_id)).first()
            if row is None or not row.blocks or self.project not in (None, row.project):
                return None
            before = row.size if cursor is None else distance(sweep_id, check_cursor(cursor)) - 1
            if state is None and law is None and tags is None:
                stop = max(min(before, row.size), 0)
                found = np.arange(max(stop - limit - 1, 0), stop)
            else:
                found = np.sort(self._selected(connection, sweep_id, state, law, tags))
                found = found[found < before][-limit - 1 :]
            plan = load_plan(connection, self.plans, sweep_id)
            page = views(connection, plan, sweep_id, found[::-1][:limit].tolist())
            shown = [job for job in page if job.deleted_at is None]
            return shown, page[-1].id if len(found) > limit else None

    def page_of_members(
        self, connection: Connection, sweep_id: str, size: int, limit: int, cursor: str | None
    ) -> tuple[list[Job], str | None]:
        """Read a page of members in the order of their indices, and the cursor of the next page."""
        start = 0 if cursor is None else max(distance(sweep_id, check_cursor(cursor)), 0)
        stop = min(start + limit, size)
        plan = load_plan(connection, self.plans, sweep_id)
        found = views(connection, plan, sweep_id, range(start, stop))
        return found, found[-1].id if found and stop < size else None

    def _sweep_size(self, connection: Connection, sweep_id: str) -> tuple[int, int]:
        """Return the number of members and of blocks of a sweep.

        Raises:
            Problem: 404 if there is no such sweep in the project.
        """
        found = select(sweeps.c.project, sweeps.c.size, sweeps.c.blocks).where(sweeps.c.id == sweep_id)
        row = connection.execute(found).first()
        if row is None or self.project not in (None, row.project):
            raise not_found("sweep", sweep_id)
        return row.size, row.blocks

    def _selected(
        self,
        connection: Connection,
        sweep_id: str,
        state: JobState | str | None,
        law: str | None,
        tags: Sequence[tuple[str, str]] | None,
    ) -> NDArray[np.int64]:
        """Return the indices of the members that the filters select: int64 [n], in no order."""
        found = [np.zeros(0, np.int64)]
        rows = select(*COLUMNS).where(jobs.c.sweep == sweep_id, jobs.c.indices.is_not(None), *self._own())
        for mapping in connection.execute(rows).mappings():
            row = job_of(mapping)
            if law is not None and not _is_law(row.law, law):
                continue
            if tags is not None and not any(row.tags.get(key) == value for key, value in tags):
                continue
            block = BlockRow.of(row)
            places = block.kept
            if state is not None:
                places = places[block.in_state(JobState(state), places)]
            found.append(block.indices[places])
        return np.concatenate(found)


def _is_law(ref: str, asked: str) -> bool:
    """Return True if a law is the one that is asked for: a name, or name@ and the beginning of a digest."""
    return ref.startswith(asked) if "@" in asked else ref.partition("@")[0] == asked
