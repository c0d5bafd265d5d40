"""Webhooks: the events of jobs and sweeps that have ended, and their deliveries.

A row with a webhook is the outbox of its event: its final state and the missing `event` say that a delivery has to be
made, whatever ended the job. `queue_events` makes deliveries of such rows, each in one transaction, so that an event is
neither lost nor made twice. `take` reserves deliveries for a sender by setting the time of their next attempt ahead: if
the sender dies, another one attempts them then. So an event arrives at least once, always with the same id.
"""

from __future__ import annotations

import base64
import json
import random
import secrets
import time
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Row, case, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from leym.common.strict_json import nan_to_null
from leym.contract.identity import DEFAULT
from leym.contract.ids import new_id
from leym.contract.problems import conflict, not_found
from leym.contract.record_bodies import job_body, rfc3339, sweep_body
from leym.contract.records import FINAL, LIVE, Job
from leym.jobs.queries import Base, check_cursor, dump, get_job, page_of
from leym.jobs.schema import deliveries, jobs, sweeps, webhook_secrets
from leym.jobs.sweeps import get_sweep

RETRY_S = (5.0, 30.0, 120.0, 600.0, 3600.0, 6 * 3600.0, 24 * 3600.0)  # after each failed attempt; then it has failed
JITTER = 0.2  # relative
PENDING, DELIVERED, FAILED = "pending", "delivered", "failed"
LOG_LENGTH = 20  # attempts that a delivery remembers
KEPT_S = 30 * 86400.0  # deliveries that have ended are forgotten after this time
SECRET_BYTES = 32
BOTH_S = 24 * 3600.0  # time for which a replaced secret signs too
GONE = 410  # a receiver that answers this wants no further attempt
_CALLED = (jobs.c.webhook.is_not(None), jobs.c.event.is_(None))


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt to deliver an event: `status` is that of the answer, None if there was none."""

    at: float
    status: int | None
    duration_s: float
    error: str | None = None

    @property
    def delivered(self) -> bool:
        """True if the receiver has taken the event."""
        return self.error is None


@dataclass(frozen=True, slots=True)
class Delivery:
    """An event, and the attempts to deliver it. `body` is None before the first one."""

    id: str
    subject: str
    project: str
    type: str
    url: str
    body: str | None
    state: str
    attempts: int
    created_at: float
    next_at: float | None
    log: list[dict[str, Any]] = field(default_factory=list)


class Webhooks(Base):
    """Events, deliveries and the secrets that sign them."""

    def queue_events(self, limit: int = 100, now: float | None = None) -> int:
        """Make deliveries for the jobs and sweeps that have ended since the last call, and return their number."""
        now = time.time() if now is None else now
        ended = select(jobs.c.id).where(jobs.c.state.in_(FINAL), *_CALLED).order_by(jobs.c.id).limit(limit)
        unended = select(jobs.c.id).where(jobs.c.sweep == sweeps.c.id, jobs.c.state.in_(LIVE)).exists()
        done = select(sweeps.c.id).where(sweeps.c.webhook.is_not(None), sweeps.c.event.is_(None), ~unended)
        with self.db.read() as connection:  # usually there are none, and reading blocks nobody
            found, finished = list(connection.scalars(ended)), list(connection.scalars(done.limit(limit)))
        made = 0
        for job_id in found:
            with self.db.write() as connection:
                locked = select(jobs.c.webhook).where(jobs.c.id == job_id, *_CALLED).with_for_update()
                if (row := connection.execute(locked).first()) is None:
                    continue  # another process was faster
                job = get_job(connection, job_id)
                event = _insert(connection, job.id, job.project, f"{_kind(job)}.{job.state}", row.webhook, now)
                connection.execute(update(jobs).where(jobs.c.id == job_id).values(event=event))
                made += 1
        for sweep_id in finished:
            with self.db.write() as connection:
                called = (sweeps.c.id == sweep_id, sweeps.c.event.is_(None), sweeps.c.webhook.is_not(None))
                sweep = connection.execute(select(sweeps).where(*called).with_for_update()).first()
                if sweep is None or connection.execute(select(sweeps.c.id).where(*called, unended)).first():
                    continue  # members were added, or run again, meanwhile
                event = _insert(connection, sweep_id, sweep.project, "sweep.finished", sweep.webhook, now)
                connection.execute(update(sweeps).where(sweeps.c.id == sweep_id).values(event=event))
                made += 1
        return made

    def take(self, limit: int, reserve_s: float, now: float | None = None) -> list[Delivery]:
        """Reserve deliveries whose time has come, new ones first, so that a dead receiver delays no other.

        Args:
            limit: most deliveries.
            reserve_s: seconds after which another sender attempts them if `record` was not called.
            now: the time.

        Returns:
            The deliveries, with their bodies.
        """
        now = time.time() if now is None else now
        ready = select(deliveries).where(deliveries.c.next_at <= now)
        ready = ready.order_by(deliveries.c.attempts, deliveries.c.next_at).limit(limit)
        with self.db.read() as connection:
            if connection.execute(ready.limit(1)).first() is None:
                return []
        with self.db.write() as connection:
            rows = connection.execute(ready.with_for_update(skip_locked=True)).all()
            taken = []
            for row in rows:
                body = row.body if row.body is not None else _body(connection, row)
                values = {"body": body, "next_at": now + reserve_s}
                connection.execute(update(deliveries).where(deliveries.c.id == row.id).values(**values))
                taken.append(_delivery(row, **values))
            return taken

    def record(self, delivery_id: str, attempt: Attempt, *, final: bool = False) -> Delivery:
        """Add an attempt to the log of a delivery, and set the time of the next one after a failure.

        Args:
            delivery_id: the delivery.
            attempt: the attempt.
            final: no further attempt makes sense.

        Raises:
            Problem: 404 if there is no such delivery.
        """
        with self.db.write() as connection:
            row = self._find(connection, delivery_id, lock=True)
            n = row.attempts + 1
            log = [*json.loads(row.log), _logged(attempt)][-LOG_LENGTH:]
            state, next_at = PENDING, None
            if attempt.delivered:
                state = DELIVERED
            elif final or attempt.status == GONE or n > len(RETRY_S):
                state = FAILED
            else:
                spread = random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - no secret depends on it
                next_at = attempt.at + attempt.duration_s + RETRY_S[n - 1] * spread
            values = {"attempts": n, "state": state, "next_at": next_at, "log": dump(log)}
            connection.execute(update(deliveries).where(deliveries.c.id == delivery_id).values(**values))
            return _delivery(row, **values)

    def replay(self, delivery_id: str, now: float | None = None) -> Delivery:
        """Deliver an event again, now and with the retries of a new one. Its id and its body stay.

        Raises:
            Problem: 404 if there is no such delivery; 409 if it is waiting for an attempt that comes by itself.
        """
        now = time.time() if now is None else now
        with self.db.write() as connection:
            row = self._find(connection, delivery_id, lock=True)
            if row.state == PENDING and not row.attempts:
                raise conflict(f"delivery {delivery_id} has not been attempted yet; its first attempt is about to come")
            values = {"state": PENDING, "attempts": 0, "next_at": now}
            connection.execute(update(deliveries).where(deliveries.c.id == delivery_id).values(**values))
            return _delivery(row, **values)

    def list_deliveries(
        self, *, subject: str | None = None, state: str | None = None, limit: int = 50, cursor: str | None = None
    ) -> tuple[list[Delivery], str | None]:
        """Read a page of deliveries, newest first, and the cursor of the next page (None: there is none).

        Args:
            subject: only those of this job or sweep.
            state: only those in this state: pending, delivered or failed.
            limit: most deliveries of the page.
            cursor: cursor that came with the previous page.

        Raises:
            Problem: 422 for an invalid cursor.
        """
        statement = select(deliveries).order_by(deliveries.c.id.desc()).limit(limit + 1)
        chosen = {"project": self.project, "subject": subject, "state": state}
        for name, value in chosen.items():
            if value is not None:
                statement = statement.where(deliveries.c[name] == value)
        if cursor is not None:
            statement = statement.where(deliveries.c.id < check_cursor(cursor))
        with self.db.read() as connection:
            return page_of([_delivery(row) for row in connection.execute(statement)], limit)

    def failing_deliveries(self) -> dict[str, int]:
        """Count deliveries: `waiting` for their first attempt, `retrying`, and `failed`."""
        retried = func.sum(case((deliveries.c.attempts > 0, 1), else_=0))
        statement = select(deliveries.c.state, func.count(), retried).where(deliveries.c.state != DELIVERED)
        with self.db.read() as connection:
            rows = connection.execute(statement.group_by(deliveries.c.state))
            found = {state: (int(n), int(more)) for state, n, more in rows}
        pending, retrying = found.get(PENDING, (0, 0))
        return {"waiting": pending - retrying, "retrying": retrying, "failed": found.get(FAILED, (0, 0))[0]}

    def forget_deliveries(self, now: float | None = None) -> None:
        """Remove deliveries that ended, and were made, over `KEPT_S` seconds ago."""
        now = time.time() if now is None else now
        over = (deliveries.c.next_at.is_(None), deliveries.c.created_at < now - KEPT_S)
        with self.db.write() as connection:
            connection.execute(delete(deliveries).where(*over))

    def webhook_secrets(self, project: str | None = None, now: float | None = None) -> list[str]:
        """Return the secrets that sign the events of a project, newest first; the first call makes one.

        A replaced secret is in the list for another 24 hours, so that receivers can change theirs.
        """
        now, project = time.time() if now is None else now, project or self._secret_project
        mine = select(webhook_secrets).where(webhook_secrets.c.project == project)
        with self.db.read() as connection:
            row = connection.execute(mine).first()
        if row is None:
            try:
                with self.db.write() as connection:
                    connection.execute(insert(webhook_secrets), {"project": project, "secret": _new_secret()})
            except IntegrityError:
                pass  # another process has just made one
            with self.db.read() as connection:
                row = connection.execute(mine).one()
        both = row.previous is not None and now < (row.previous_until or 0)
        return [row.secret, row.previous] if both else [row.secret]

    def replace_webhook_secret(self, now: float | None = None) -> str:
        """Make a new secret for the project, and return it."""
        now = time.time() if now is None else now
        old = self.webhook_secrets(now=now)[0]
        values = {"secret": _new_secret(), "previous": old, "previous_until": now + BOTH_S}
        with self.db.write() as connection:
            mine = webhook_secrets.c.project == self._secret_project
            connection.execute(update(webhook_secrets).where(mine).values(**values))
        return str(values["secret"])

    @property
    def _secret_project(self) -> str:
        return self.project or DEFAULT

    def _find(self, connection: Connection, delivery_id: str, *, lock: bool = False) -> Row[Any]:
        statement = select(deliveries).where(deliveries.c.id == delivery_id)
        row = connection.execute(statement.with_for_update() if lock else statement).first()
        if row is None or self.project not in (None, row.project):
            raise not_found("delivery", delivery_id)
        return row


def _insert(connection: Connection, subject: str, project: str, type: str, url: str, now: float) -> str:
    row = {"id": new_id(), "subject": subject, "project": project, "type": type, "url": url, "created_at": now}
    row |= {"state": PENDING, "attempts": 0, "next_at": now, "log": "[]"}
    connection.execute(insert(deliveries), row)
    return str(row["id"])


def _kind(job: Job) -> str:
    return "training" if job.is_training else "fidelity" if job.is_fidelity else "job"


def _body(connection: Connection, row: Row[Any]) -> str:
    """Return the JSON of an event: its type, the time at which the work ended, and the record of the job or sweep."""
    if row.type == "sweep.finished":
        sweep = get_sweep(connection, row.subject, None)
        data, ended = sweep_body(sweep, sweep.counts), row.created_at
    else:
        job = get_job(connection, row.subject)
        data, ended = job_body(job), job.finished_at
    return json.dumps({"type": row.type, "timestamp": rfc3339(ended), "data": nan_to_null(data)}, allow_nan=False)


def _delivery(row: Row[Any], **changed: Any) -> Delivery:
    values = dict(row._mapping) | changed
    return Delivery(**values | {"log": json.loads(values["log"])})


def _logged(attempt: Attempt) -> dict[str, Any]:
    return {
        "at": rfc3339(attempt.at),
        "status": attempt.status,
        "duration_s": round(attempt.duration_s, 3),
        "error": attempt.error,
    }


def _new_secret() -> str:
    return "whsec_" + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()
