"""Live interventions: users ask for them, and the holder of the job says at which step they act.

A request is a row of its own without a step. The holder takes its run out of the engine at a step, and `settle` writes
the step of every waiting request, together with the spec of the job that now has them. Only then does the run go on.
So whoever continues the job from an earlier checkpoint meets the intervention at the same step, and a job with the
spec of the record has the same bits.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, func, insert, select, update

from leym.contract.gamma import gamma_changed, schedule_of
from leym.contract.limits import LIMITS
from leym.contract.problems import conflict, invalid
from leym.contract.records import MISSED, Job, JobState, LiveIntervention
from leym.jobs.members import get_any
from leym.jobs.progress import fence
from leym.jobs.queries import change_job, chunks, dump, get_job
from leym.jobs.schema import interventions, jobs, requests
from leym.jobs.submit import Submit

_WAITING = interventions.c.step.is_(None)
_ASKED = select(interventions.c.job).where(interventions.c.job.in_(bindparam("some", expanding=True)), _WAITING)


def intervention_request(job_id: str, change: dict[str, Any]) -> dict[str, Any]:
    """Return the request that an Idempotency-Key identifies: an intervention in a job, as requested."""
    return {"intervention": {"job": job_id, **change}}


class Interventions(Submit):
    """Requests for live interventions, and the steps at which they act."""

    def intervene(
        self, job_id: str, change: dict[str, Any], idempotency_key: str | None = None, now: float | None = None
    ) -> LiveIntervention:
        """Ask for an intervention in a job that waits or runs, and return the request.

        Args:
            job_id: the job.
            change: the intervention as JSON (`leym.contract.interventions`); its `step` may be null.
            idempotency_key: key of the caller. If it was used with the same request before, that one is returned.
            now: time of the request.

        Raises:
            Problem: 404 if there is no such job, 409 if it cannot be steered, 422 if the step has passed already or is
                not below the job's steps, if the job has too many interventions, or if the key was used for another
                request.
        """
        now = time.time() if now is None else now

        def create(connection: Connection) -> LiveIntervention:
            check_steerable(get_any(connection, self.plans, job_id, self.project))
            job = get_job(connection, job_id, lock=True)
            check_steerable(job)  # it may have ended before the row was locked
            step, steps = change.get("step"), int(job.spec["steps"])
            if step is not None and not job.step <= step < steps:
                reached = f"{job.step}, the step that the job has reached"
                raise invalid(f"step = {step}: it must be from {reached}, to {steps - 1}", "/step")
            earlier = connection.execute(select(func.count()).where(interventions.c.job == job_id)).scalar_one()
            _check_number(job, change, earlier)
            row = {"job": job_id, "number": earlier, "body": dump(change), "created_at": now, "step": None}
            connection.execute(insert(interventions), row)
            return LiveIntervention(job_id, earlier, change, now, None)

        def load(connection: Connection, _: str) -> LiveIntervention:
            # both rows were written by one transaction with one time; equal changes at one time are interchangeable
            at = select(requests.c.created_at).where(requests.c.key == self._owned(idempotency_key or ""))
            one = (interventions.c.job == job_id, interventions.c.body == dump(change))
            found = select(interventions).where(*one, interventions.c.created_at == at.scalar_subquery())
            row = connection.execute(found.order_by(interventions.c.number).limit(1)).one()
            return LiveIntervention(job_id, row.number, change, row.created_at, row.step)

        asked = intervention_request(job_id, change)
        return self._once(idempotency_key, asked, job_id, now, load, create)[0]

    def interventions(self, job_id: str) -> list[LiveIntervention]:
        """Return the live interventions of a job, in the order of their requests."""
        statement = select(interventions).where(interventions.c.job == job_id).order_by(interventions.c.number)
        with self.db.read() as connection:
            return [
                LiveIntervention(row.job, row.number, json.loads(row.body), row.created_at, row.step)
                for row in connection.execute(statement)
            ]

    def asked_to_change(self, job_ids: Sequence[str]) -> set[str]:
        """Return which of these jobs have interventions that wait for a step."""
        found: set[str] = set()
        with self.db.read() as connection:
            for some in chunks(job_ids):
                found.update(connection.scalars(_ASKED, {"some": some}))
        return found

    def settle_interventions(self, job_id: str, epoch: int, step: int) -> dict[str, Any]:
        """Give every waiting intervention its step, and write it into the spec of the job.

        Args:
            job_id: the job.
            epoch: epoch of the caller's claim.
            step: step that the run has reached at most. No intervention acts before it, nor before the committed step,
                whose frames readers may have seen; nor before the step that it asks for.

        Returns:
            The spec of the job. What would act when no step is left is marked as missed.

        Raises:
            Fenced: the job is no longer held at this epoch.
        """
        with self.db.write() as connection:
            held = fence(connection, job_id, epoch)
            spec: dict[str, Any] = json.loads(
                connection.execute(select(jobs.c.spec).where(jobs.c.id == job_id)).scalar_one()
            )
            waiting = select(interventions).where(interventions.c.job == job_id, _WAITING)
            rows = connection.execute(waiting.order_by(interventions.c.number)).all()
            for row in rows:
                change = json.loads(row.body)
                at = max(change.get("step") or 0, step, held.step)
                if at < spec["steps"]:
                    spec = changed_spec(spec, change, at)
                else:
                    at = MISSED
                own = (interventions.c.job == job_id, interventions.c.number == row.number)
                connection.execute(update(interventions).where(*own).values(step=at))
            if rows:
                change_job(connection, job_id, spec=dump(spec))
            return spec


def changed_spec(spec: dict[str, Any], change: dict[str, Any], step: int) -> dict[str, Any]:
    """Return the stored spec of a job with one more change, which acts at `step` after the others of that step."""
    if change["kind"] == "gamma":
        gamma = gamma_changed(spec["gamma"], step, change["value"])
        return spec | {"gamma": [list(point) for point in gamma] if isinstance(gamma, tuple) else gamma}
    all_of_them = [*spec.get("interventions", ()), change | {"step": step}]
    return spec | {"interventions": sorted(all_of_them, key=lambda one: int(one["step"]))}


def check_steerable(job: Job) -> None:
    """Check that a job takes live interventions.

    Raises:
        Problem: 409 if it is a member of a sweep, no simulation, or has ended.
    """
    if job.sweep is not None:
        why = f"members are steered by their specs only; POST /v1/jobs/{job.id}/fork makes a job that can be steered"
        raise conflict(f"job {job.id} is a member of sweep {job.sweep}: {why}")
    if job.is_training or job.is_fidelity:
        raise conflict(f"job {job.id} is a {job.spec['kind']} job: only universes are steered")
    if job.state not in (JobState.QUEUED, JobState.RUNNING):
        raise conflict(f"job {job.id} is {job.state.value}: only queued and running jobs are steered; fork it")


def _check_number(job: Job, change: dict[str, Any], earlier: int) -> None:
    """Raise a problem (422) if the job could have too many interventions or points of its schedule."""
    if change["kind"] == "gamma":
        key, most, found = "gamma", LIMITS.gamma_points, len(schedule_of(job.spec["gamma"])) + earlier
    else:
        key, most, found = "interventions", LIMITS.interventions, len(job.spec.get("interventions", ())) + earlier
    if found >= most:
        raise invalid(f"{key} = {found + 1} changes with this one; a job has at most {most}")
