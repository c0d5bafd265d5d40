"""New jobs, alone or as a sweep."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from sqlalchemy import Connection, insert, select
from sqlalchemy.exc import IntegrityError

from leym.contract.catalog import first_observable
from leym.contract.fidelity_spec import FidelityRequest, FidelitySpec
from leym.contract.identity import DEFAULT
from leym.contract.ids import new_id
from leym.contract.problems import invalid
from leym.contract.records import Job, JobState, NewJob, Sweep
from leym.contract.spec import JobSpec
from leym.jobs.dependencies import check_sources
from leym.jobs.queries import COLUMNS, Base, digest, dump, get_job, jobs_of
from leym.jobs.schema import jobs, requests, sweeps, tags
from leym.jobs.statistics import count
from leym.jobs.sweeps import get_sweep

KEY_LENGTH = 255  # characters of an Idempotency-Key
APART = "\x1f"  # between a project and a key; no header holds it

T = TypeVar("T")


def tag_text(key: str, value: str) -> str:
    return json.dumps([key, value], ensure_ascii=False)  # escapes NUL, which PostgreSQL's text does not take


def key_prefix(project: str) -> str:
    """What stands before the keys of a project in the table, for two projects may use the same key."""
    return "" if project == DEFAULT else f"{project}{APART}"


def job_request(spec: JobSpec | FidelitySpec) -> dict[str, Any]:
    """Return what an Idempotency-Key stands for: a job as it was asked for.

    Observables have their first names, so that a retry still matches a request that an earlier version accepted.
    """
    job = spec.model_dump(mode="json")
    if job.get("observe"):
        job["observe"]["names"] = [first_observable(name) for name in job["observe"]["names"]]
    return {"job": job}


def sweep_request(spec: dict[str, Any]) -> dict[str, Any]:
    """What an Idempotency-Key stands for: a sweep as it was asked for."""
    return {"sweep": spec}


def fidelity_request(law: str, request: FidelityRequest) -> dict[str, Any]:
    """What an Idempotency-Key stands for: a judgement of `law` as it was named, whichever version that means now."""
    return {"fidelity": {"law": law, **request.model_dump(mode="json")}}


class Submit(Base):
    @property
    def owner(self) -> str:
        """The project of new jobs."""
        return self.project or DEFAULT

    def submit(
        self,
        spec: JobSpec | FidelitySpec,
        *,
        law: str,
        precision: str,
        d_state: int,
        fidelity: str = "unverified",
        idempotency_key: str | None = None,
        request: dict[str, Any] | None = None,
        now: float | None = None,
    ) -> tuple[Job, bool]:
        """The job and whether it was made now. A key used before with the same request gives the job of then.

        `law` is name@digest. `request` is what the caller sent, by default the spec. Raises Problem 422 when the key
        was used for another request or the job to start from was removed meanwhile, 429 or 503 when a quota is
        reached.
        """
        now = time.time() if now is None else now
        job = self._made(NewJob(spec, law, precision, d_state, fidelity=fidelity), None, now)

        def first(connection: Connection, made: str) -> Job:
            return get_job(connection, made)

        def make(connection: Connection) -> Job:
            self._insert(connection, [job], now)
            return job

        return self._once(idempotency_key, request or job_request(spec), job.id, now, first, make)

    def accepted(self, key: str | None, request: dict[str, Any]) -> str | None:
        """Find what an earlier request made under this Idempotency-Key.

        Asked before anything else is checked, so that what was accepted stays accepted whatever has changed since.

        Args:
            key: of the caller; None for a request without one.
            request: `job_request`, `sweep_request` or `fidelity_request` of the body.

        Returns:
            The id of the job or sweep; None when the key is new.

        Raises:
            Problem: 422 when the key was used for another request.
        """
        if key is None:
            return None
        with self.db.read() as connection:
            return self._found(connection, self._owned(key), digest(request))

    def submit_sweep(
        self,
        spec: dict[str, Any],
        jobs: Sequence[NewJob],
        idempotency_key: str | None = None,
        *,
        now: float | None = None,
    ) -> tuple[Sweep, list[Job], bool]:
        """The sweep, its jobs in order, and whether they were made now: all of them or none. Raises like `submit`."""
        now = time.time() if now is None else now
        sweep = Sweep(new_id(), spec, len(jobs), now, None, {state.value: 0 for state in JobState})
        sweep.counts[JobState.QUEUED.value] = len(jobs)
        members = [self._made(job, sweep.id, now) for job in jobs]

        def first(connection: Connection, made: str) -> tuple[Sweep, list[Job]]:
            return get_sweep(connection, made, self.project), _members(connection, made)

        def make(connection: Connection) -> tuple[Sweep, list[Job]]:
            row = {"id": sweep.id, "spec": dump(spec), "size": sweep.size, "created_at": now, "project": self.owner}
            connection.execute(insert(sweeps), row)
            self._insert(connection, members, now)
            return sweep, members

        (sweep, members), created = self._once(idempotency_key, sweep_request(spec), sweep.id, now, first, make)
        return sweep, members, created

    def _made(self, new: NewJob, sweep: str | None, now: float) -> Job:
        job = _job(new, sweep, self.owner, now)
        if self.ttl_s is not None and "ttl_s" in job.spec and job.spec["ttl_s"] is None:
            return replace(job, spec=job.spec | {"ttl_s": self.ttl_s})
        return job

    def _insert(self, connection: Connection, new: Sequence[Job], now: float) -> None:
        if not new:
            return
        self.quotas.check(connection, self.owner, new, now)
        check_sources(connection, new, now)
        connection.execute(insert(jobs), [_row(job) for job in new])
        tagged = [{"tag": tag_text(*tag), "job": job.id} for job in new for tag in job.tags.items()]
        if tagged:
            connection.execute(insert(tags), tagged)
        count(connection, submitted=len(new))

    def _once(
        self,
        key: str | None,
        request: dict[str, Any],
        made: str,
        now: float,
        first: Callable[[Connection, str], T],
        make: Callable[[Connection], T],
    ) -> tuple[T, bool]:
        """`make`, or when this request was made before under this key, `first` of what it made then."""
        if key is None:
            with self.db.write() as connection:
                return make(connection), True
        owned = self._owned(key)
        try:
            return self._keyed(owned, digest(request), made, now, first, make)
        except IntegrityError:  # someone else (on PostgreSQL) has just used it: now it can be found
            return self._keyed(owned, digest(request), made, now, first, make)

    def _owned(self, key: str) -> str:
        """The key as the table holds it: two projects may use the same."""
        if not 1 <= len(key) <= KEY_LENGTH:
            raise invalid(f"Idempotency-Key has {len(key)} characters; 1 to {KEY_LENGTH} are allowed")
        return key_prefix(self.owner) + key

    def _found(self, connection: Connection, key: str, of_request: str) -> str | None:
        found = connection.execute(select(requests).where(requests.c.key == key)).first()
        if found is None:
            return None
        if found.digest != of_request:
            raise invalid(
                f"Idempotency-Key {key.rpartition(APART)[2]!r} was used before, for a request with another body"
            )
        return str(found.made)

    def _keyed(
        self,
        key: str,
        of_request: str,
        made: str,
        now: float,
        first: Callable[[Connection, str], T],
        make: Callable[[Connection], T],
    ) -> tuple[T, bool]:
        with self.db.write() as connection:
            found = self._found(connection, key, of_request)
            if found is not None:
                return first(connection, found), False
            row = {"key": key, "digest": of_request, "made": made, "created_at": now}
            connection.execute(insert(requests), row)
            return make(connection), True


def _members(connection: Connection, sweep: str) -> list[Job]:
    return jobs_of(connection, select(*COLUMNS).where(jobs.c.sweep == sweep).order_by(jobs.c.id))


def _job(new: NewJob, sweep: str | None, project: str, now: float) -> Job:
    return Job(
        id=new_id(),
        state=JobState.QUEUED,
        step=0,
        steps=new.spec.total_steps,
        spec=new.spec.model_dump(mode="json"),
        law=new.law,
        precision=new.precision,
        fidelity=new.fidelity,
        d_state=new.d_state,
        epoch=0,
        attempts=0,
        priority=new.spec.priority,
        owner=None,
        lease_until=None,
        error=None,
        created_at=now,
        started_at=None,
        finished_at=None,
        sweep=sweep,
        point=new.point,
        manifest={},
        checkpoint=None,
        observables_last=None,
        deleted_at=None,
        project=project,
        stored_bytes=0,
    )


def _row(job: Job) -> dict[str, Any]:
    """Of a new job."""
    height, width = job.grid
    return {
        "id": job.id,
        "state": job.state.value,
        "step": 0,
        "steps": job.steps,
        "spec": dump(job.spec),
        "law": job.law,
        "law_name": job.law.partition("@")[0],
        "precision": job.precision,
        "fidelity": job.fidelity,
        "d_state": job.d_state,
        "epoch": 0,
        "attempts": 0,
        "priority": job.priority,
        "created_at": job.created_at,
        "sweep": job.sweep,
        "point": dump(job.point),
        "manifest": "{}",
        "height": height,
        "width": width,
        "remaining": job.steps,
        "frames": 0,
        "project": job.project,
        "deadline_at": job.deadline_at,
    }
