"""Queries for sweeps."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Connection, Row, func, select

from leym.contract.problems import not_found
from leym.contract.records import Job, JobState, Sweep
from leym.jobs.labels import labelled
from leym.jobs.members import additions
from leym.jobs.queries import COLUMNS, check_cursor, jobs_of, page_of
from leym.jobs.schema import LIVE_MEMBERS, jobs, sweeps
from leym.jobs.sweep_members import SweepMembers


def get_sweep(connection: Connection, sweep_id: str, project: str | None) -> Sweep:
    """Read a sweep.

    Raises:
        Problem: 404 if there is no such sweep in `project`; None stands for all projects.
    """
    row = connection.execute(select(sweeps).where(sweeps.c.id == sweep_id)).first()
    if row is None or project not in (None, row.project):
        raise not_found("sweep", sweep_id)
    return _sweeps_of(connection, [row])[0]


def _sweeps_of(connection: Connection, rows: list[Row[Any]]) -> list[Sweep]:
    counts = {row.id: {state.value: 0 for state in JobState} for row in rows}
    work = {row.id: [0, 0] for row in rows}
    ended = ("succeeded", "failed", "cancelled")
    key = (jobs.c.sweep, jobs.c.state, jobs.c.height, jobs.c.width)
    # members that moved to another block are counted there
    steps = jobs.c.steps // jobs.c.members * (jobs.c.members - jobs.c.moved)
    members = (
        select(*key, func.sum(steps).label("steps"), func.sum(jobs.c.step).label("done"))
        .add_columns(func.sum(LIVE_MEMBERS).label("live"), *(func.sum(jobs.c[name]).label(name) for name in ended))
        .where(jobs.c.sweep.in_(list(counts)))
        .group_by(*key)
    )
    for found in connection.execute(members):
        of_sweep = counts[found.sweep]
        of_sweep[found.state] += int(found.live)
        for name in ended:
            of_sweep[name] += int(getattr(found, name))
        # multiplied in Python: the sum over many large jobs could exceed SQLite's integers
        cells = found.height * found.width
        work[found.sweep][0] += cells * int(found.steps)
        work[found.sweep][1] += cells * int(found.done)
    return [
        Sweep(
            id=row.id,
            spec=json.loads(row.spec),
            size=row.size,
            created_at=row.created_at,
            cancelled_at=row.cancelled_at,
            counts=counts[row.id],
            blocks=row.blocks,
            paused_at=row.paused_at,
            cell_steps=work[row.id][0],
            cell_steps_done=work[row.id][1],
            added=tuple(additions(row.added)),
            name=row.name,
            note=row.note,
            starred=bool(row.starred),
            tags_now=None if row.tags_now is None else json.loads(row.tags_now),
        )
        for row in rows
    ]


class Sweeps(SweepMembers):
    """Queries for sweeps."""

    def get_sweep(self, sweep_id: str) -> Sweep:
        """Read a sweep.

        Raises:
            Problem: 404 if there is no such sweep.
        """
        with self.db.read() as connection:
            return get_sweep(connection, sweep_id, self.project)

    def list_sweeps(
        self, limit: int = 50, cursor: str | None = None, starred: bool | None = None, q: str | None = None
    ) -> tuple[list[Sweep], str | None]:
        """Read a page of sweeps, newest first, and the cursor of the next page (None: there is none).

        Args:
            limit: most sweeps of the page.
            cursor: cursor that came with the previous page.
            starred: only sweeps with a star, or only those without.
            q: only sweeps with this text in their name, note or changed tags.

        Raises:
            Problem: 422 for an invalid cursor.
        """
        statement = select(sweeps).order_by(sweeps.c.id.desc()).limit(limit + 1)
        if self.project is not None:
            statement = statement.where(sweeps.c.project == self.project)
        statement = statement.where(*labelled(sweeps, starred, q))
        if cursor is not None:
            statement = statement.where(sweeps.c.id < check_cursor(cursor))
        with self.db.read() as connection:
            return page_of(_sweeps_of(connection, list(connection.execute(statement).all())), limit)

    def sweep_members(self, sweep_id: str, limit: int = 50, cursor: str | None = None) -> tuple[list[Job], str | None]:
        """Read a page of the sweep's jobs in the order of its points, deleted ones included.

        Returns:
            The jobs, and the cursor of the next page; None if there is none.

        Raises:
            Problem: 404 if there is no such sweep; 422 for an invalid cursor.
        """
        statement = select(*COLUMNS).where(jobs.c.sweep == sweep_id, *self._own()).order_by(jobs.c.id).limit(limit + 1)
        if cursor is not None:
            statement = statement.where(jobs.c.id > check_cursor(cursor))
        with self.db.read() as connection:
            size, blocks = self._sweep_size(connection, sweep_id)
            if blocks:
                return self.page_of_members(connection, sweep_id, size, limit, cursor)
            return page_of(jobs_of(connection, statement), limit)
