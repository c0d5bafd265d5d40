"""Jobs as the tests of the job table submit them."""

from __future__ import annotations

from leym.contract.records import NewJob
from leym.contract.spec import JobSpec
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


def sweep_of(table: JobTable, n: int = 5, **how):
    new = [NewJob(spec(seed=i, tags={"s": "1"}), LAW, "fp32", 4, {"seed": i}) for i in range(n)]
    return table.submit_sweep({"base": {}, "axes": {"seed": list(range(n))}}, new, **how)
