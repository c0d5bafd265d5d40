"""History of a job: who claimed it when, and how each claim ended.

The row keeps one line of JSON per claim and per return to the queue, which the update of the claim itself appends.
Submission and end follow from the other columns.
"""

from __future__ import annotations

import json
import time
from typing import Any

from sqlalchemy import ColumnElement, func, select

from leym.contract.records import Job
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
        return events + _end(job)


def shortened(text: str | None) -> str:
    """Return the newest lines of a history."""
    return "".join((text or "").splitlines(keepends=True)[-KEPT:])


def _end(job: Job) -> list[dict[str, Any]]:
    if not job.final:
        return []
    end = {"at": job.finished_at, "event": str(job.state), "step": job.step}
    return [end | ({"why": job.error.get("detail") or job.error.get("title")} if job.error else {})]
