"""Queries that all parts of the job table share, and the conversion of rows to records."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any, Protocol, TypeVar

from sqlalchemy import (
    ClauseElement,
    ColumnElement,
    Connection,
    RowMapping,
    Select,
    Update,
    bindparam,
    or_,
    select,
    update,
)

from leym.contract.ids import ALPHABET
from leym.contract.problems import invalid, not_found
from leym.contract.records import Job, JobState
from leym.contract.sweep_plan import SweepPlan
from leym.jobs.database import Database
from leym.jobs.quotas import Quotas
from leym.jobs.schema import jobs

COLUMNS = (
    *(jobs.c.id, jobs.c.state, jobs.c.step, jobs.c.steps, jobs.c.spec, jobs.c.law, jobs.c.precision),
    *(jobs.c.fidelity, jobs.c.d_state),
    *(jobs.c.epoch, jobs.c.attempts, jobs.c.priority, jobs.c.owner, jobs.c.lease_until, jobs.c.error),
    *(jobs.c.created_at, jobs.c.started_at, jobs.c.finished_at, jobs.c.sweep, jobs.c.point, jobs.c.manifest),
    *(jobs.c.checkpoint, jobs.c.observables_last, jobs.c.deleted_at),
    *(jobs.c.project, jobs.c.stored_bytes, jobs.c.members, jobs.c.indices, jobs.c.member_states, jobs.c.differs),
    *(jobs.c.device_s, jobs.c.name, jobs.c.note, jobs.c.starred, jobs.c.tags_now),
)
_BY_ID = select(*COLUMNS).where(jobs.c.id == bindparam("job_id"))  # made once: to make it takes longer than to run it
_BY_ID_LOCKED = _BY_ID.with_for_update()
_JSON = ("spec", "error", "point", "manifest", "checkpoint", "observables_last", "differs", "tags_now")
_CHUNK = 500  # ids in one statement
_PLANS = 4  # sampled plans of a million members take tens of megabytes each


class PlanCache:
    """The plans of the sweeps that were used last. Any thread may use it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._plans: OrderedDict[str, SweepPlan] = OrderedDict()

    def get(self, sweep_id: str, size: int, load: Callable[[], SweepPlan]) -> SweepPlan:
        """Return the plan of a sweep of `size` members, which `load` makes if it is not here."""
        with self._lock:
            if sweep_id in self._plans and self._plans[sweep_id].size == size:
                self._plans.move_to_end(sweep_id)
                return self._plans[sweep_id]
        plan = load()
        with self._lock:
            self._plans[sweep_id] = plan
            while len(self._plans) > _PLANS:
                self._plans.popitem(last=False)
        return plan


class Base:
    """Base class of the parts of the job table.

    Attributes:
        db: connections to the database.
        project: the only project whose rows are visible; None for all projects.
        quotas: limits on new and running jobs.
        ttl_s: `ttl_s` of new jobs that have none; None keeps their results for ever.
        plans: plans of sweeps.
    """

    db: Database
    plans: PlanCache
    project: str | None = None
    quotas = Quotas()
    ttl_s: float | None = None

    def _own(self) -> tuple[ColumnElement[bool], ...]:
        """Return the condition that restricts a query to the project."""
        return () if self.project is None else (jobs.c.project == self.project,)


class _Named(Protocol):
    @property
    def id(self) -> str: ...


T = TypeVar("T", bound=_Named)


def dump(value: Any) -> str | None:
    """Encode a value as compact JSON; None stays None."""
    return None if value is None else json.dumps(value, separators=(",", ":"))


def digest(value: Any) -> str:
    """Return the SHA-256 of the canonical JSON of a value, 64 hex digits."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def job_of(row: RowMapping) -> Job:
    """Convert a row with `COLUMNS` to a record."""
    values = dict(row)
    for name in _JSON:
        if values[name] is not None:
            values[name] = json.loads(values[name])
    values["state"], values["starred"] = JobState(values["state"]), bool(values["starred"])
    return Job(**values)


def jobs_of(connection: Connection, statement: Select[Any]) -> list[Job]:
    """Execute a query for `COLUMNS`, and convert its rows to records."""
    return [job_of(row) for row in connection.execute(statement).mappings()]


def find_job(connection: Connection, job_id: str, *, lock: bool = False) -> Job | None:
    """Read a job, or None if there is no such job; `lock` keeps other transactions from changing it."""
    row = connection.execute(_BY_ID_LOCKED if lock else _BY_ID, {"job_id": job_id}).mappings().first()
    return None if row is None else job_of(row)


def get_job(connection: Connection, job_id: str, *, lock: bool = False) -> Job:
    """Read a job like `find_job`.

    Raises:
        Problem: 404 if there is no such job.
    """
    job = find_job(connection, job_id, lock=lock)
    if job is None:
        raise not_found("job", job_id)
    return job


def change_job(connection: Connection, job_id: str, **values: Any) -> None:
    """Set columns of a job to values or SQL expressions."""
    expressions = {name: value for name, value in values.items() if isinstance(value, ClauseElement)}
    plain = {name: value for name, value in values.items() if name not in expressions}
    statement = _change(tuple(plain))
    connection.execute(
        statement.values(expressions) if expressions else statement,
        {"job_id": job_id} | {f"={name}": value for name, value in plain.items()},
    )


@cache
def _change(names: tuple[str, ...]) -> Update:
    """Build the statement that sets some columns of a job; cached, because building takes longer than executing."""
    values = {name: bindparam(f"={name}", type_=jobs.c[name].type) for name in names}
    return update(jobs).where(jobs.c.id == bindparam("job_id")).values(values)


def chunks(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    """Split ids into parts that fit into one statement."""
    for start in range(0, len(ids), _CHUNK):
        yield ids[start : start + _CHUNK]


def check_cursor(cursor: str) -> str:
    """Return a cursor, the id of the last record of a page, if it is well-formed.

    Raises:
        Problem: 422 if it is not.
    """
    if len(cursor) != 26 or not set(cursor) <= set(ALPHABET):
        raise invalid(f"cursor = {cursor[:64]!r} is not a cursor of this service", "/cursor")
    return cursor


def checkpoint_bytes(checkpoint: dict[str, Any] | None) -> int:
    """Add up the sizes of the checkpoints that a row names, with the previous ones."""
    if not checkpoint:
        return 0
    if "groups" in checkpoint:
        return sum(checkpoint_bytes(group) for group in checkpoint["groups"])
    return int(checkpoint["bytes"]) + checkpoint_bytes(checkpoint.get("previous"))


def page_of(found: list[T], limit: int) -> tuple[list[T], str | None]:
    """Split up to `limit` + 1 records into a page and the cursor of the next page; None if there is none."""
    if len(found) <= limit:
        return found, None
    return found[:limit], found[limit - 1].id


def not_within(moment: ColumnElement[Any], seconds: float, now: float) -> ColumnElement[bool]:
    """Return the condition that a time differs from `now` by more than `seconds`.

    A time in the future was written by a clock that has been set back since, and counts as long ago.
    """
    return or_(moment < now - seconds, moment > now + seconds)
