"""Jobs of the law `tiny`, for tests of tickets."""

from __future__ import annotations

from leym.contract.spec import JobSpec


def submit(table, **spec):
    wanted = JobSpec(law="tiny", grid=(64, 64), steps=1000, **spec)
    job, _ = table.submit(wanted, law="tiny@" + "0" * 64, precision="nf4", d_state=4)
    return job
