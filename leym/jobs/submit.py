"""Submission of jobs, and idempotency keys."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from sqlalchemy import Connection, insert, select, update
from sqlalchemy.exc import IntegrityError

from leym.contract.catalog import first_observable
from leym.contract.fidelity_spec import FidelityRequest, FidelitySpec
from leym.contract.identity import DEFAULT
from leym.contract.ids import new_id
from leym.contract.problems import invalid
from leym.contract.records import SIMULATION, TRAINING, Job, JobState, NewJob
from leym.contract.spec import JobSpec
from leym.contract.training_spec import TrainingRequest, TrainingSpec
from leym.contract.webhook import without_null_webhook, without_webhook
from leym.jobs.dependencies import check_dependencies
from leym.jobs.lineage import first_start
from leym.jobs.queries import Base, digest, dump, get_job
from leym.jobs.reuse import reuse_key, same_job
from leym.jobs.schema import jobs, requests, tags
from leym.jobs.statistics import count

KEY_LENGTH = 255  # characters of an Idempotency-Key
_LATER: dict[str, Any] = {
    "keep_states": None,
    "reuse": False,
    "interventions": [],
    "name": None,
}  # keys of a JobSpec that version 0.1.0 did not have, unset
SEPARATOR = "\x1f"  # between project and key; an HTTP header cannot contain it

T = TypeVar("T")


def tag_text(key: str, value: str) -> str:
    """Encode a tag as the text of its column. JSON escapes NUL, which PostgreSQL's text cannot contain."""
    return json.dumps([key, value], ensure_ascii=False)


def key_prefix(project: str) -> str:
    """Return the prefix of a project's idempotency keys in the table; two projects may use the same key."""
    return "" if project == DEFAULT else f"{project}{SEPARATOR}"


def job_request(spec: JobSpec | FidelitySpec | TrainingSpec) -> dict[str, Any]:
    """Return the request that an Idempotency-Key identifies: the job as requested.

    Observables have their first names, and keys of later versions are left out unless they are set, so that a retry
    still matches a request that an earlier version accepted.
    """
    job = without_null_webhook(spec.model_dump(mode="json"))
    job = {key: value for key, value in job.items() if _LATER.get(key, ...) != value}
    if job.get("observe"):
        job["observe"]["names"] = [first_observable(name) for name in job["observe"]["names"]]
    return {"job": job}


def continuation_request(kind: str, job_id: str, body: dict[str, Any]) -> dict[str, Any]:
    """Return the request that an Idempotency-Key identifies: to extend or to fork a job, as requested."""
    return {kind: {"parent": job_id, **body}}


def sweep_request(spec: dict[str, Any]) -> dict[str, Any]:
    """Return the request that an Idempotency-Key identifies: the sweep as requested."""
    return {"sweep": spec}


def members_request(sweep_id: str, more: dict[str, Any]) -> dict[str, Any]:
    """Return the request that an Idempotency-Key identifies: the members to add to a sweep, as requested."""
    return {"members": {"sweep": sweep_id, **more}}


def fidelity_request(law: str, request: FidelityRequest) -> dict[str, Any]:
    """Return the request that an Idempotency-Key identifies: a fidelity job of `law` as named, not as resolved."""
    return {"fidelity": {"law": law, **without_null_webhook(request.model_dump(mode="json"))}}


def training_request(request: TrainingRequest) -> dict[str, Any]:
    """Return the request that an Idempotency-Key identifies: the training as requested."""
    return {"training": without_null_webhook(request.model_dump(mode="json"))}


class Submit(Base):
    """Submission of jobs."""

    @property
    def _new_project(self) -> str:
        """Project of new jobs."""
        return self.project or DEFAULT

    def submit(
        self,
        spec: JobSpec | FidelitySpec | TrainingSpec,
        *,
        law: str,
        precision: str,
        d_state: int,
        fidelity: str = "unverified",
        differs: dict[str, Any] | None = None,
        idempotency_key: str | None = None,
        request: dict[str, Any] | None = None,
        predicted_s: float | None = None,
        now: float | None = None,
    ) -> tuple[Job, bool]:
        """Submit a job: write its row in the state `queued`.

        Args:
            spec: validated spec of the job.
            law: name@digest of the law; of a training, its name.
            precision: resolved precision, never "auto".
            d_state: channels of the law's state.
            fidelity: standing of the precision (`leym.laws.verdicts.standing`).
            differs: of a job that continues another one, {key: [value there, own value]}.
            idempotency_key: key of the caller. If it was used with the same request before, no job is created.
            request: the request as the caller sent it; the spec if None.
            predicted_s: running time that a quote would state; None if that is not known.
            now: time of the submission.

        Returns:
            The job, and True if it is new. With `reuse` in its spec, it may be an earlier job.

        Raises:
            Problem: 422 if the key was used for another request, or if the results of the job to start from are gone;
                429 or 503 if a quota would be exceeded.
        """
        now = time.time() if now is None else now
        job = self._new_job(NewJob(spec, law, precision, d_state, None, fidelity, differs), None, now)

        def load(connection: Connection, existing: str) -> Job:
            return get_job(connection, existing)

        def create(connection: Connection) -> Job:
            key = reuse_key(connection, self.plans, job)
            if key and job.spec.get("reuse") and (same := same_job(connection, job, key, now)):
                if idempotency_key is not None:
                    asked = requests.c.key == self._owned(idempotency_key)
                    connection.execute(update(requests).where(asked).values(made=same.id))
                return same
            webhook = None if spec.webhook is None else spec.webhook.url
            self._insert(connection, [job], now, webhook=webhook, predicted_s=predicted_s, reuse_key=key)
            return job

        found, is_new = self._once(idempotency_key, request or job_request(spec), job.id, now, load, create)
        return found, is_new and found.id == job.id

    def draft(self, new: NewJob, now: float | None = None) -> Job:
        """Return the job that `submit` would create, without submitting it."""
        return self._new_job(new, None, time.time() if now is None else now)

    def accepted(self, key: str | None, request: dict[str, Any]) -> str | None:
        """Find the job or sweep that an earlier request with this Idempotency-Key created.

        Call it before any other check, so that an accepted request stays accepted whatever has changed since.

        Args:
            key: key of the caller; None for a request without one.
            request: `job_request`, `sweep_request`, `fidelity_request` or `training_request` of the body.

        Returns:
            The id of the job or sweep; None if the key is new.

        Raises:
            Problem: 422 if the key was used for another request.
        """
        if key is None:
            return None
        with self.db.read() as connection:
            return self._found(connection, self._owned(key), digest(request))

    def _new_job(self, new: NewJob, sweep: str | None, now: float) -> Job:
        job = _job(new, sweep, self._new_project, now)
        if self.ttl_s is not None and "ttl_s" in job.spec and job.spec["ttl_s"] is None:
            return replace(job, spec=job.spec | {"ttl_s": self.ttl_s})
        return job

    def _insert(self, connection: Connection, new: Sequence[Job], now: float, **columns: Any) -> None:
        """Insert rows, with further columns of all of them."""
        if not new:
            return
        self.quotas.check(connection, self._new_project, new, now)
        initial = [job.spec.get("initial", {}) for job in new]
        initial += [first_start(connection, self.plans, state) for state in initial]
        sources = [state["job"] for state in initial if state.get("kind") in ("state", "continue")]
        check_dependencies(connection, self.plans, sources, now)
        connection.execute(insert(jobs), [row_of(job) | columns for job in new])
        tagged = [{"tag": tag_text(*tag), "job": job.id} for job in new for tag in job.tags.items()]
        if tagged:
            connection.execute(insert(tags), tagged)
        count(connection, submitted=len(new))

    def _once(
        self,
        key: str | None,
        request: dict[str, Any],
        new_id: str,
        now: float,
        load: Callable[[Connection, str], T],
        create: Callable[[Connection], T],
    ) -> tuple[T, bool]:
        """Call `create`, or `load` with the id that the same request with this key created before."""
        if key is None:
            with self.db.write() as connection:
                return create(connection), True
        owned = self._owned(key)
        try:
            return self._keyed(owned, digest(request), new_id, now, load, create)
        except IntegrityError:  # on PostgreSQL, another transaction has just used the key: now it can be found
            return self._keyed(owned, digest(request), new_id, now, load, create)

    def _owned(self, key: str) -> str:
        """Check a key, and return it as the table stores it."""
        if not 1 <= len(key) <= KEY_LENGTH:
            raise invalid(f"Idempotency-Key has {len(key)} characters; 1 to {KEY_LENGTH} are allowed")
        return key_prefix(self._new_project) + key

    def _found(self, connection: Connection, key: str, of_request: str) -> str | None:
        found = connection.execute(select(requests).where(requests.c.key == key)).first()
        if found is None:
            return None
        if found.digest != of_request:
            raise invalid(
                f"Idempotency-Key {key.rpartition(SEPARATOR)[2]!r} was used before, for a request with another body"
            )
        return str(found.made)

    def _keyed(
        self,
        key: str,
        of_request: str,
        new_id: str,
        now: float,
        load: Callable[[Connection, str], T],
        create: Callable[[Connection], T],
    ) -> tuple[T, bool]:
        with self.db.write() as connection:
            found = self._found(connection, key, of_request)
            if found is not None:
                return load(connection, found), False
            row = {"key": key, "digest": of_request, "made": new_id, "created_at": now}
            connection.execute(insert(requests), row)
            return create(connection), True


def _job(new: NewJob, sweep: str | None, project: str, now: float) -> Job:
    return Job(
        id=new_id(),
        state=JobState.QUEUED,
        step=new.spec.begins_at if isinstance(new.spec, JobSpec) else 0,
        steps=new.spec.total_steps,
        spec=without_webhook(new.spec.model_dump(mode="json")),
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
        differs=new.differs,
        name=new.spec.name if isinstance(new.spec, JobSpec) and sweep is None else None,  # a sweep has it itself
    )


def row_of(job: Job) -> dict[str, Any]:
    """Return the row of a new job."""
    height, width = job.grid
    return {
        "id": job.id,
        "state": job.state.value,
        "step": job.step,
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
        "remaining": job.steps - job.step,
        "frames": 0,
        "project": job.project,
        "deadline_at": job.deadline_at,
        "pool": TRAINING if job.is_training else SIMULATION,
        "members": job.members,
        "indices": job.indices,
        "parent": job.parent,
        "name": job.name,
        "begins_at": job.begins_at,
        "differs": dump(job.differs),
    }
