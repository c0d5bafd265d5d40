"""Members of sweeps as jobs. A member has no row of its own: a view is made from the row of its block."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, select

from leym.contract.ids import ALPHABET, distance, id_after
from leym.contract.member_states import MemberState, MemberStates
from leym.contract.problems import not_found
from leym.contract.ranges import unpack_ranges
from leym.contract.records import Addition, Job, JobState
from leym.contract.sweep_parts import PlanOfParts
from leym.contract.sweep_plan import SweepPlan
from leym.contract.sweeps import MoreMembers, SweepSpec
from leym.jobs.queries import COLUMNS, PlanCache, chunks, find_job, jobs_of
from leym.jobs.schema import jobs, sweeps

_STATES = {
    MemberState.SUCCEEDED: JobState.SUCCEEDED,
    MemberState.FAILED: JobState.FAILED,
    MemberState.CANCELLED: JobState.CANCELLED,
}
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class BlockRow:
    """The row of a block, with its members decoded.

    Attributes:
        row: the row.
        indices: int64 [N], the index in the sweep of the member at each place.
        states: states of the members.
    """

    row: Job
    indices: Indices
    states: MemberStates

    @classmethod
    def of(cls, row: Job) -> BlockRow:
        """Decode the members of a row."""
        return cls(row, unpack_ranges(row.indices or ""), MemberStates.parse(row.member_states, row.members))

    @property
    def kept(self) -> Indices:
        """Places of the members that no other block has: int64 [n]."""
        return np.flatnonzero(self.states.state != MemberState.MOVED)

    def state_of(self, place: int) -> JobState:
        """Return the state of a member: its own final one, or that of the row."""
        return _STATES.get(MemberState(int(self.states.state[place])), self.row.state)

    def in_state(self, state: JobState, places: Indices) -> NDArray[np.bool_]:
        """Return which of the members at `places` are in a state: bool [n]."""
        own = self.states.state[places]
        found = own == next((number for number, name in _STATES.items() if name == state), -1)
        return np.asarray(found | (own == MemberState.LIVE) if self.row.state == state else found)

    def view(self, plan: SweepPlan, place: int) -> Job:
        """Return a member as a job.

        Args:
            plan: the sweep.
            place: place of the member in the block.
        """
        row, index, state = self.row, int(self.indices[place]), self.state_of(place)
        error = self.states.problem_of(place) or (row.error if state == JobState.FAILED else None)
        return replace(
            row,
            id=id_after(str(row.sweep), 1 + index),
            state=state,
            step=max(int(self.states.step[place]), 0),
            steps=row.steps // row.members,
            spec=row.spec | own_keys(plan, np.array([index]))[0] | {"priority": row.priority},
            error=error,
            finished_at=row.finished_at if state.final else None,
            point=plan.point(index),
            manifest=row.manifest if self.states.step[place] >= 0 else {},  # the row's has frames of others
            checkpoint=None,
            observables_last=None,
            stored_bytes=row.stored_bytes // row.members,
            device_s=row.device_s / row.members,
            members=1,
            block=row.id,
            place=place,
        )


def own_keys(plan: SweepPlan, indices: Indices) -> list[dict[str, Any]]:
    """Return the keys of the spec in which members of one block differ, for each of the members."""
    seeds, gammas, states = (plan.column(key, indices) for key in ("seed", "gamma", "initial"))
    return [
        {"seed": seed, "gamma": gamma, "initial": state.model_dump(mode="json")}
        for seed, gamma, state in zip(seeds, gammas, states, strict=True)
    ]


def load_plan(connection: Connection, plans: PlanCache, sweep_id: str) -> SweepPlan:
    """Return the members of a sweep, which must exist."""

    def load() -> SweepPlan:
        row = connection.execute(select(sweeps.c.spec, sweeps.c.added).where(sweeps.c.id == sweep_id)).one()
        spec, added = SweepSpec.model_validate(json.loads(row.spec)), additions(row.added)
        more = [MoreMembers.model_validate({"axes": part.axes, "mode": part.mode}) for part in added]
        return PlanOfParts(spec, more) if more else SweepPlan(spec)

    size = connection.execute(select(sweeps.c.size).where(sweeps.c.id == sweep_id)).scalar_one()
    return plans.get(sweep_id, size, load)


def additions(text: str | None) -> list[Addition]:
    """Return the members that were added to a sweep, from the text of its column."""
    return [Addition(**part) for part in json.loads(text or "[]")]


def index_of(connection: Connection, member_id: str) -> tuple[str, int] | None:
    """Return the sweep of which this would be the id of a member, and its index; None if there is no such sweep.

    The ids of the members follow that of the sweep, and `new_id` reserved them.
    """
    if len(member_id) != 26 or not set(member_id) <= set(ALPHABET):
        return None
    before = select(sweeps.c.id, sweeps.c.size, sweeps.c.blocks).where(sweeps.c.id < member_id)
    row = connection.execute(before.order_by(sweeps.c.id.desc()).limit(1)).first()
    if row is None or not row.blocks or not 1 <= (n := distance(row.id, member_id)) <= row.size:
        return None
    return row.id, n - 1


def blocks_with(connection: Connection, plan: SweepPlan, sweep_id: str, indices: Indices) -> Iterator[BlockRow]:
    """Iterate over the blocks that may have some of the members, by shape, older ones first."""
    shapes = [str(shape) for shape in np.unique(plan.shape_of(indices)).tolist()]
    spanning = (jobs.c.sweep == sweep_id, jobs.c.indices.is_not(None))
    for some in chunks(shapes):
        statement = (
            select(*COLUMNS)
            .where(*spanning, jobs.c.shape.in_([int(shape) for shape in some]))
            .where(jobs.c.first <= int(indices.max()), jobs.c.last >= int(indices.min()))
            .order_by(jobs.c.id)
        )
        for row in jobs_of(connection, statement):
            yield BlockRow.of(row)


def views(connection: Connection, plan: SweepPlan, sweep_id: str, indices: Sequence[int]) -> list[Job]:
    """Return members as jobs, in the order of `indices`."""
    if not len(indices):
        return []
    wanted, found = np.asarray(indices, np.int64), dict[int, tuple[BlockRow, int]]()
    for block in blocks_with(connection, plan, sweep_id, wanted):
        places = block.kept[np.isin(block.indices[block.kept], wanted)]
        found.update((int(block.indices[place]), (block, int(place))) for place in places)
    at = [found[index] for index in wanted.tolist()]
    return [block.view(plan, place) for block, place in at]


def find_member(connection: Connection, plans: PlanCache, member_id: str) -> Job | None:
    """Return the member of a sweep with this id as a job; None if there is none."""
    place = index_of(connection, member_id)
    if place is None:
        return None
    sweep_id, index = place
    return views(connection, load_plan(connection, plans, sweep_id), sweep_id, [index])[0]


def find_any(connection: Connection, plans: PlanCache, job_id: str) -> Job | None:
    """Return a job by its id, which has a row or is a member of a sweep; None if there is none."""
    return find_job(connection, job_id) or find_member(connection, plans, job_id)


def get_any(connection: Connection, plans: PlanCache, job_id: str, project: str | None) -> Job:
    """Return a job as `find_any` does.

    Raises:
        Problem: 404 if there is no such job in the project; None stands for all projects.
    """
    job = find_any(connection, plans, job_id)
    if job is None or not visible(job, project):
        raise not_found("job", job_id)
    return job


def visible(job: Job, project: str | None) -> bool:
    """Return True if a project may see a job: one of its own, and not the row of a block; None sees all."""
    return project is None or (job.project == project and not job.is_block)
