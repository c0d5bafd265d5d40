"""Dependencies of live jobs: the job or the uploaded state that their start state comes from.

Submitting a job and removing the job that it starts from exclude each other. SQLite has one writer at a time;
PostgreSQL takes the lock of this module.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, or_, select, text

from leym.contract.initial import StoredState, Upload
from leym.contract.problems import invalid
from leym.contract.ranges import unpack_ranges
from leym.contract.records import LIVE
from leym.contract.sweep_plan import SweepPlan
from leym.jobs.lineage import first_start
from leym.jobs.members import find_any, load_plan
from leym.jobs.queries import PlanCache
from leym.jobs.schema import interventions, jobs, sweeps

_LOCK = "hashtext('leym sources')"


@dataclass(frozen=True)
class Dependencies:
    """Jobs and uploaded states that live jobs start from.

    Attributes:
        jobs: ids of the rows of live jobs, by the id of the row that has the results of the job that they start from.
        states: ids of the uploaded states, those of interventions included.
    """

    jobs: Mapping[str, Sequence[str]]
    states: frozenset[str]


def live_dependencies(connection: Connection, plans: PlanCache) -> Dependencies:
    """Read the dependencies of all live jobs.

    They may change at any time unless the transaction has called `block_new_dependents`.
    """
    kinds = ("state", "continue", "upload", "set")
    stored = or_(*(jobs.c.spec.contains(f'"kind":"{kind}"') for kind in kinds))
    rows = connection.execute(select(jobs.c.id, jobs.c.spec).where(jobs.c.state.in_(LIVE), stored).order_by(jobs.c.id))
    found: dict[str, set[str]] = {}
    states = _waiting_states(connection)
    for row in rows:
        spec = json.loads(row.spec)
        states |= {str(one["state"]) for one in spec.get("interventions", ()) if one.get("state")}
        initial = spec.get("initial", {})  # a fidelity job has no start state
        for state in (initial, first_start(connection, plans, initial)):  # `overlap` compares with the second
            if state.get("kind") in ("state", "continue"):
                found.setdefault(state["job"], set()).add(row.id)
            elif state.get("kind") == "upload":
                states.add(state["id"])
    for block, sources, uploads in _of_blocks(connection, plans):
        states |= uploads
        for source in sources:
            found.setdefault(source, set()).add(block)
    by_row: dict[str, set[str]] = {}
    for source, dependents in found.items():
        job = find_any(connection, plans, source)
        by_row.setdefault(job.results if job else source, set()).update(dependents)
    return Dependencies({row: sorted(dependents) for row, dependents in by_row.items()}, frozenset(states))


def _of_blocks(connection: Connection, plans: PlanCache) -> Iterator[tuple[str, set[str], set[str]]]:
    """Iterate over live blocks whose members start from various states: id of the row, ids of jobs and of uploads."""
    kinds = [text.contains(kind) for text in (sweeps.c.spec, sweeps.c.added) for kind in ('"state"', '"upload"')]
    varying = sweeps.c.spec.contains('"initial') & or_(*kinds)
    live = (jobs.c.state.in_(LIVE), jobs.c.indices.is_not(None), varying)
    rows = select(jobs.c.id, jobs.c.sweep, jobs.c.indices).join(sweeps, sweeps.c.id == jobs.c.sweep).where(*live)
    for row in connection.execute(rows.order_by(jobs.c.id)).all():
        plan = load_plan(connection, plans, row.sweep)
        if plan.starting and plan.starts_from_stored:  # else the row has it
            yield row.id, *start_states(plan, unpack_ranges(row.indices))


def _waiting_states(connection: Connection) -> set[str]:
    """Return the ids of the uploaded states that waiting interventions of live jobs name."""
    waiting = (interventions.c.step.is_(None), interventions.c.body.contains('"kind":"set"'))
    bodies = select(interventions.c.body).join(jobs, jobs.c.id == interventions.c.job)
    rows = connection.scalars(bodies.where(jobs.c.state.in_(LIVE), *waiting))
    return {str(state) for body in rows if (state := json.loads(body).get("state"))}


def start_states(plan: SweepPlan, indices: NDArray[np.int64]) -> tuple[set[str], set[str]]:
    """Return the ids of the jobs and of the uploaded states that some members of a sweep start from."""
    states = plan.column("initial", indices)
    return (
        {state.job for state in states if isinstance(state, StoredState)},
        {state.id for state in states if isinstance(state, Upload)},
    )


def block_new_dependents(connection: Connection) -> None:
    """Keep other transactions from submitting jobs that start from another job, until this one ends."""
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))


def check_dependencies(connection: Connection, plans: PlanCache, sources: Iterable[str], now: float) -> None:
    """Check that the jobs that new ones start from still have their results.

    Raises:
        Problem: 422 if results are gone since the request was validated.
    """
    wanted = sorted(set(sources))
    if not wanted:
        return
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SELECT pg_advisory_xact_lock_shared({_LOCK})"))
    for id in wanted:
        source = find_any(connection, plans, id)
        if source is None:
            continue
        removed = source.final and not source.manifest and not source.checkpoint  # perhaps by a clock ahead of ours
        if why := source.gone(now) or ("are gone" if removed else None):
            raise invalid(f"initial.job = {source.id!r}: its results {why}", "/initial/job")
