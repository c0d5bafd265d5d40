"""History of a job: who claimed it when, and how each claim ended.

The row keeps one line of JSON per claim and per return to the queue, which the update of the claim itself appends.
Submission and end follow from the other columns.
"""

from __future__ import annotations

import json
import time
from typing import Any

from sqlalchemy import ColumnElement, func, select

from leym.contract.records import JobState
from leym.jobs.members import get_any
from leym.jobs.queries import Base
from leym.jobs.schema import jobs

KEPT = 64  # claims after which the oldest lines are forgotten


def appended(event: str, at: float | None = None, **details: Any) -> ColumnElement[str]:
    """Return the value of the column `history` with one more event."""
    line = {"at": time.time() if at is None else at, "event": event} | details
    return func.coalesce(jobs.c.history, "") + (json.dumps(line, separators=(",", ":")) + "\n")


class History(Base):
    """Keeps what happened to jobs."""

    def history(self, job_id: str) -> list[dict[str, Any]]:
        """Return the events of a job, oldest first; those of a member of a sweep are the ones of its block.

        Each has `at` (seconds since 1970), `event` and what else is known: `worker`, `epoch`, `attempt`, `step`, `why`.

        Raises:
            Problem: 404 if there is no such job.
        """
        with self.db.read() as connection:
            job = get_any(connection, self.plans, job_id, self.project)
            text = connection.execute(select(jobs.c.history).where(jobs.c.id == job.results)).scalar_one()
        events = [{"at": job.created_at, "event": "submitted"}, *map(json.loads, (text or "").splitlines())]
        return events + _end(job.state, job.finished_at, job.step, job.error)

    def recent_events(self, limit: int) -> list[dict[str, Any]]:
        """Return the newest events of the newest rows and of those that run, the newest event first.

        Each is one of `history` with the `job` and the `sweep` that it is about. Blocks stand for their members.
        """
        own = (jobs.c.deleted_at.is_(None), *self._own())
        names = ("id", "sweep", "state", "step", "created_at", "finished_at", "error", "history")
        columns = [jobs.c[name] for name in names]
        newest = select(*columns).where(*own).order_by(jobs.c.id.desc()).limit(limit)
        running = select(*columns).where(jobs.c.state == JobState.RUNNING, *own).order_by(jobs.c.id.desc()).limit(limit)
        with self.db.read() as connection:
            rows = {row["id"]: row for query in (running, newest) for row in connection.execute(query).mappings()}
        found = []
        for row in rows.values():
            lines = [{"at": row["created_at"], "event": "submitted"}]
            lines += map(json.loads, (row["history"] or "").splitlines())
            error = json.loads(row["error"]) if row["error"] else None
            lines += _end(JobState(row["state"]), row["finished_at"], row["step"], error)
            found += [event | {"job": row["id"], "sweep": row["sweep"]} for event in lines]
        return sorted(found, key=lambda event: float(event["at"]), reverse=True)[:limit]


def shortened(text: str | None) -> str:
    """Return the newest lines of a history."""
    return "".join((text or "").splitlines(keepends=True)[-KEPT:])


def _end(state: JobState, at: float | None, step: int, error: dict[str, Any] | None) -> list[dict[str, Any]]:
    if not state.final:
        return []
    end = {"at": at, "event": str(state), "step": step}
    return [end | ({"why": error.get("detail") or error.get("title")} if error else {})]
