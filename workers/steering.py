"""Makes the steering of a run from the spec of its job."""

from __future__ import annotations

from collections.abc import Mapping

from leym.contract.gamma import Schedule
from leym.contract.interventions import SetCells
from leym.contract.records import Job
from leym.contract.spec import JobSpec, stored_spec
from leym.engine.steering import Steering
from leym.frames.states import get_state
from leym.frames.stores.base import Store
from leym.jobs.table import JobTable


def settled_spec(table: JobTable, job: Job) -> JobSpec:
    """Return the spec of a job that was just claimed, with the interventions that users asked for meanwhile.

    Raises:
        Fenced: Another worker has claimed the job meanwhile.
    """
    if job.is_block or not table.asked_to_change([job.id]):
        return stored_spec(job.spec)
    return stored_spec(table.settle_interventions(job.id, job.epoch, job.step))


def steering_of(store: Store, spec: JobSpec, schedules: Mapping[int, Schedule]) -> Steering:
    """Return how a job is steered.

    Args:
        store: Where the uploaded states are that interventions name.
        spec: Spec of the job, with its interventions.
        schedules: Gammas of members that are schedules, by place.

    Raises:
        Problem: A state is gone.
        OSError: The store does not answer.
    """
    named = {one.state for one in spec.interventions if isinstance(one, SetCells) and one.state is not None}
    return Steering(schedules, spec.interventions, {state: get_state(store, state) for state in sorted(named)})
