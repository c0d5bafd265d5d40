"""Submission of sweeps: one row per block, all of them or none."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from sqlalchemy import Connection, insert, select

from leym.contract.ids import new_id
from leym.contract.limits import LIMITS
from leym.contract.records import Job, JobState, NewBlock, Sweep
from leym.contract.sweep_plan import SweepPlan
from leym.contract.webhook import without_webhook
from leym.jobs.blocks import insert_rows, member_columns
from leym.jobs.dependencies import check_dependencies, start_states
from leym.jobs.members import own_keys
from leym.jobs.queries import COLUMNS, dump, jobs_of
from leym.jobs.schema import jobs, sweeps, tags
from leym.jobs.statistics import count
from leym.jobs.submit import Submit, row_of, sweep_request, tag_text
from leym.jobs.sweeps import get_sweep


class SubmitSweep(Submit):
    """Submission of sweeps."""

    def submit_sweep(
        self,
        plan: SweepPlan,
        blocks: Sequence[NewBlock],
        idempotency_key: str | None = None,
        *,
        request: dict[str, Any] | None = None,
        now: float | None = None,
    ) -> tuple[Sweep, list[Job], bool]:
        """Submit all members of a sweep, or none of them.

        Args:
            plan: the sweep. The key is of its spec unless there is a `request`.
            blocks: the blocks of its members (`leym.jobs.block_size.make_blocks`); each member is in one of them.
            idempotency_key: key of the caller. If it was used with the same request before, no sweep is created.
            request: the spec as the caller sent it, in JSON; that of the plan if None.
            now: time of the submission.

        Returns:
            The sweep, the rows of its blocks in order, and True if they are new.

        Raises:
            Problem: 422 if the key was used for another request, or if the results of a job to start from are gone;
                429 or 503 if a quota would be exceeded.
        """
        now = time.time() if now is None else now
        asked = plan.spec.model_dump(mode="json")
        webhook, spec = plan.spec.webhook, without_webhook(asked)
        reserved = LIMITS.sweep_jobs  # also for members that are added later
        sweep = Sweep(new_id(following=reserved), spec, plan.size, now, blocks=len(blocks))

        def load(connection: Connection, existing: str) -> tuple[Sweep, list[Job]]:
            rows = select(*COLUMNS).where(jobs.c.sweep == existing).order_by(jobs.c.id)
            return get_sweep(connection, existing, self.project), jobs_of(connection, rows)

        def create(connection: Connection) -> tuple[Sweep, list[Job]]:
            row = {"id": sweep.id, "spec": dump(spec), "size": sweep.size, "created_at": now, "blocks": len(blocks)}
            row["name"] = spec["base"].get("name")
            connection.execute(
                insert(sweeps),
                row | {"project": self._new_project, "reserved": reserved, "webhook": webhook and webhook.url},
            )
            made = self._insert_blocks(connection, sweep.id, plan, blocks, now)
            return get_sweep(connection, sweep.id, self.project), made

        asked = sweep_request(asked if request is None else request)
        (sweep, made), created = self._once(idempotency_key, asked, sweep.id, now, load, create)
        return sweep, made, created

    def _insert_blocks(
        self,
        connection: Connection,
        sweep_id: str,
        plan: SweepPlan,
        blocks: Sequence[NewBlock],
        now: float,
        *,
        first: int = 0,
        first_shape: int = 0,
        state: JobState = JobState.QUEUED,
    ) -> list[Job]:
        """Insert blocks, and return their rows.

        Args:
            connection: the transaction.
            sweep_id: the sweep.
            plan: the members, counted from 0.
            blocks: their blocks, with indices and shapes of `plan`.
            now: time of the submission.
            first: index in the sweep of the first of the members.
            first_shape: number in the sweep of the first of their shapes.
            state: state of the rows.

        Raises:
            Problem: as `submit_sweep`.
        """
        made = [replace(job, state=state) for job in self._new_blocks(sweep_id, plan, blocks, now, first)]
        self.quotas.check(connection, self._new_project, made, now)
        check_dependencies(connection, self.plans, _sources(plan), now)
        insert_rows(
            connection, (_block_row(job, block, first, first_shape) for job, block in zip(made, blocks, strict=True))
        )
        tagged = [{"tag": tag_text(*tag), "job": job.id} for job in made for tag in job.tags.items()]
        if tagged:
            connection.execute(insert(tags), tagged)
        count(connection, submitted=plan.size)
        return made

    def _new_blocks(
        self, sweep_id: str, plan: SweepPlan, blocks: Sequence[NewBlock], now: float, first: int
    ) -> Iterator[Job]:
        """Iterate over the rows of new blocks. The spec of a row is that of its first member."""
        firsts = own_keys(plan, np.array([block.indices[0] for block in blocks], np.int64))
        of_shape: dict[int, Job] = {}
        for block, own in zip(blocks, firsts, strict=True):
            if block.shape not in of_shape:
                of_shape[block.shape] = self._new_job(block.job, sweep_id, now)
            shared = of_shape[block.shape]
            columns = member_columns(first + block.indices, shared.steps)
            yield replace(
                shared,
                id=new_id(),
                state=JobState.QUEUED,
                spec=shared.spec | own,
                point=None,
                steps=columns["steps"],
                members=columns["members"],
                indices=columns["indices"],
            )


def _sources(plan: SweepPlan) -> set[str]:
    """Return the ids of the jobs that members start from."""
    if not plan.starts_from_stored:
        return set()
    some = [indices[:1] for indices in plan.groups(plan.starting)]
    return start_states(plan, np.concatenate(some))[0]


def _block_row(job: Job, block: NewBlock, first: int, first_shape: int) -> dict[str, Any]:
    ends = {"first": first + int(block.indices[0]), "last": first + int(block.indices[-1])}
    return row_of(job) | {"shape": first_shape + block.shape} | ends
