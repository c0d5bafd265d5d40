"""Queries for sweeps, and their cancellation."""

from __future__ import annotations

import json
import time
from typing import Any

from sqlalchemy import Connection, Row, func, select, update

from leym.contract.problems import not_found
from leym.contract.records import LIVE, Job, JobState, Sweep
from leym.jobs.queries import COLUMNS, Base, check_cursor, jobs_of, page_of
from leym.jobs.schema import jobs, sweeps
from leym.jobs.statistics import count


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
    members = (
        select(jobs.c.sweep, jobs.c.state, func.count())
        .where(jobs.c.sweep.in_(list(counts)))
        .group_by(jobs.c.sweep, jobs.c.state)
    )
    for sweep, state, n in connection.execute(members):
        counts[sweep][state] = int(n)
    return [
        Sweep(row.id, json.loads(row.spec), row.size, row.created_at, row.cancelled_at, counts[row.id]) for row in rows
    ]


class Sweeps(Base):
    """Queries for sweeps, and their cancellation."""

    def get_sweep(self, sweep_id: str) -> Sweep:
        """Read a sweep.

        Raises:
            Problem: 404 if there is no such sweep.
        """
        with self.db.read() as connection:
            return get_sweep(connection, sweep_id, self.project)

    def list_sweeps(self, limit: int = 50, cursor: str | None = None) -> tuple[list[Sweep], str | None]:
        """Read a page of sweeps, newest first, and the cursor of the next page (None: there is none).

        Raises:
            Problem: 422 for an invalid cursor.
        """
        statement = select(sweeps).order_by(sweeps.c.id.desc()).limit(limit + 1)
        if self.project is not None:
            statement = statement.where(sweeps.c.project == self.project)
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
            found = jobs_of(connection, statement)
            if not found:
                get_sweep(connection, sweep_id, self.project)
            return page_of(found, limit)

    def cancel_sweep(self, sweep_id: str, now: float | None = None) -> int:
        """Cancel the jobs that have not ended, fence their holders, and return the number of these jobs.

        Raises:
            Problem: 404 if there is no such sweep.
        """
        now = time.time() if now is None else now
        with self.db.write() as connection:
            get_sweep(connection, sweep_id, self.project)
            live = (jobs.c.sweep == sweep_id, jobs.c.state.in_(LIVE))
            connection.execute(select(jobs.c.id).where(*live).order_by(jobs.c.id).with_for_update()).all()
            cancelled = connection.execute(
                update(jobs)
                .where(*live)
                .values(state=JobState.CANCELLED, epoch=jobs.c.epoch + 1, finished_at=now, lease_until=None)
            ).rowcount
            first = (sweeps.c.id == sweep_id, sweeps.c.cancelled_at.is_(None))
            connection.execute(update(sweeps).where(*first).values(cancelled_at=now))
            count(connection, cancelled=cancelled)
            return cancelled
