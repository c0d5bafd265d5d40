"""Extensions and forks: the spec of a job that goes on from a state of another one and inherits what is not said."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from app.errors import excerpt, validation_problem
from leym.contract.gamma import gamma_within
from leym.contract.problems import Problem, conflict
from leym.contract.records import Job
from leym.contract.spec import Continue, JobSpec
from leym.frames.kept import describe_states, has_state
from leym.frames.last import last_state_step

# Keys that belong to one submission: its start, its deadline, its webhook and whether another job may serve it.
NOT_INHERITED = frozenset({"initial", "deadline_s", "name", "reuse", "webhook"})
NOT_COMPARED = frozenset({"initial", "deadline_s", "name", "reuse", "ttl_s"})


def extension_step(parent: Job) -> int:
    """Return the step of the last state of a job, from which an extension goes on.

    Raises:
        Problem: 409 if the job has not ended, or has no last state.
    """
    _check_simulation(parent)
    if (step := last_state_step(parent)) is not None:
        return step
    if not parent.final:
        why = "an extension goes on from the last state: wait for the end, or fork at a kept step"
        raise conflict(f"job {parent.id} is {parent.state} at step {parent.step}; {why} ({describe_states(parent)})")
    raise conflict(
        f"job {parent.id} ({parent.state}) has no last state; fork it at a kept step: {describe_states(parent)}"
    )


def check_fork(parent: Job, step: int) -> None:
    """Check that the complete state of a job at a step is stored.

    Raises:
        Problem: 409 for a job that is no simulation; 422 without such a state, which names the steps that have one.
    """
    _check_simulation(parent)
    if not has_state(parent, step):
        why = "only psi (complex64), kept states and the last state are complete, other fields are not"
        detail = f"step = {step}: {describe_states(parent)}; {why}"
        raise Problem(422, "Invalid request", detail, errors=[{"pointer": "/step", "detail": detail}])


def continuation(parent: Job, step: int, changes: Mapping[str, Any]) -> JobSpec:
    """Return the spec of a job that goes on from a state of `parent`, and has all of its keys that `changes` lacks.

    Keys of a JobSpec that this module does not know are inherited like the others.

    Args:
        parent: the job, which may be a member of a sweep.
        step: step of the state.
        changes: keys of a JobSpec with the values that the caller gives.

    Raises:
        Problem: 422 for keys or values that are not valid.
    """
    if "initial" in changes:
        detail = (
            f"initial = {excerpt(changes['initial'])}: the job starts from the state of job {parent.id}; leave it out"
        )
        raise Problem(422, "Invalid request", detail, errors=[{"pointer": "/initial", "detail": detail}])
    inherited = {key: value for key, value in parent.spec.items() if key not in NOT_INHERITED and value is not None}
    pinned = {"law": parent.law, "precision": parent.precision}
    start = Continue(job=parent.id, step=step).model_dump(mode="json")
    steps = changes.get("steps", parent.spec["steps"])
    if isinstance(steps, int):
        inherited |= _steering_within(parent, step, steps)
    body = {**inherited, **pinned, **changes, "initial": start}
    try:
        spec = JobSpec.model_validate(body)
    except ValidationError as error:
        raise validation_problem(error, body=body) from error
    for i, one in enumerate(spec.interventions):
        if one.step is not None and one.step < step:
            detail = f"interventions.{i}.step = {one.step}: the job goes on from step {step}"
            errors = [{"pointer": f"/interventions/{i}/step", "detail": detail}]
            raise Problem(422, "Invalid request", detail, errors=errors)
    return spec


def _steering_within(parent: Job, step: int, steps: int) -> dict[str, Any]:
    """Return the gamma and the interventions of a job that act from `step` on and before `steps`.

    The points of a schedule before `step` stay: its first one holds from step 0.
    """
    gamma = gamma_within(parent.spec["gamma"], steps)
    plain = [list(point) for point in gamma] if isinstance(gamma, tuple) else gamma  # as JSON has a schedule
    interventions = [one for one in parent.spec.get("interventions", ()) if step <= one["step"] < steps]
    return {"gamma": plain, "interventions": interventions}


def differences(parent: Job, spec: JobSpec, law: str, precision: str) -> dict[str, list[Any]]:
    """Return the keys in which a job differs from the one that it continues: {key: [value there, own value]}.

    Args:
        parent: the job that it continues.
        spec: its spec.
        law: its law, name@digest.
        precision: its precision, never "auto".
    """
    there = parent.spec | {"law": parent.law, "precision": parent.precision}
    there |= _steering_within(parent, spec.begins_at, parent.steps)
    own = spec.model_dump(mode="json") | {"law": law, "precision": precision}
    keys = sorted((there.keys() | own.keys()) - NOT_COMPARED)
    return {key: [there.get(key), own.get(key)] for key in keys if there.get(key) != own.get(key)}


def _check_simulation(job: Job) -> None:
    if job.is_training or job.is_fidelity:
        kind = "training" if job.is_training else "fidelity job"
        raise conflict(f"job {job.id} is a {kind}, which has no states; only simulations are extended and forked")
