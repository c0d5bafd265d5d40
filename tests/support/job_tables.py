"""Jobs as the tests of the job table submit them."""

from __future__ import annotations

from sqlalchemy import insert

from leym.contract.ids import new_id
from leym.contract.records import NewBlock, NewJob
from leym.contract.spec import JobSpec
from leym.contract.sweep_plan import SweepPlan
from leym.contract.sweeps import SweepSpec
from leym.jobs.queries import dump
from leym.jobs.schema import sweeps
from leym.jobs.table import JobTable

LAW = "aurora@" + "a1" * 32
LAWFUL = {"law": LAW, "precision": "fp32", "d_state": 4}
T0 = 1_000_000.0  # the tests' own clock


def spec(**changes) -> JobSpec:
    return JobSpec.model_validate({"law": "aurora", "grid": (8, 16), "steps": 100, **changes})


def submit(table: JobTable, *, law: str = LAW, now: float = T0, **changes) -> str:
    job, _ = table.submit(spec(**changes), law=law, precision="fp32", d_state=4, now=now)
    return job.id


def frames(n: int) -> dict:
    return {"version": 1, "arrays": {"psi": {"committed": n}, "energy": {"committed": 2 * n}}}


def lose(table, *jobs, max_attempts=3, now=None):
    """Their holders have fallen silent."""
    leases = table.leases()
    return table.reap({job: leases[job] for job in jobs}, max_attempts, now=now)


def rows_of(table: JobTable, n: int = 5, **changes):
    """A sweep as version 0.1.0 wrote it: every member is a row."""
    sweep = {"id": new_id(), "spec": dump({"base": {}, "axes": {"seed": list(range(n))}}), "size": n, "created_at": T0}
    new = [NewJob(spec(seed=i, tags={"s": "1"}, **changes), LAW, "fp32", 4, {"seed": i}) for i in range(n)]
    rows = [table._new_job(job, sweep["id"], T0) for job in new]
    with table.db.write() as connection:
        connection.execute(insert(sweeps), sweep | {"project": table.project or "default"})
        table._insert(connection, rows, T0)
    return table.get_sweep(sweep["id"]), rows


def plan_of(axes: dict, base: dict | None = None, **more) -> SweepPlan:
    made = {"law": "aurora", "grid": [8, 16], "steps": 100, **(base or {})}
    return SweepPlan(SweepSpec.model_validate({"base": made, "axes": axes, **more}))


def blocks_of(plan: SweepPlan, per_block: int = 3) -> list[NewBlock]:
    """Blocks of at most so many members of one shape."""
    return [
        NewBlock(
            shape.number, NewJob(plan.job(int(shape.indices[0])), LAW, "fp32", 4), shape.indices[i : i + per_block]
        )
        for shape in plan.shapes()
        for i in range(0, len(shape.indices), per_block)
    ]


def sweep_of(table: JobTable, n: int = 5, per_block: int = 3, **how):
    """A sweep over n seeds."""
    plan = plan_of({"seed": list(range(n))}, {"tags": {"s": "1"}})
    return table.submit_sweep(plan, blocks_of(plan, per_block), **how)
