"""A worker of a service has one pool of compute threads."""

from __future__ import annotations

import os

from tests.support.service import Service, add_laws, until

POOL = 64  # threads: more than a worker has of all other kinds together


def test_a_worker_that_has_run_jobs_of_two_laws_has_one_pool(tmp_path):
    """A second pool, of any thread, would add POOL - 1 threads."""
    add_laws(tmp_path)
    # torch takes MKL's number for its own, which is capped at the processors unless MKL_DYNAMIC is off
    pool = {"OMP_NUM_THREADS": str(POOL), "MKL_NUM_THREADS": str(POOL), "MKL_DYNAMIC": "FALSE"}
    service = Service(tmp_path, LEYM_COMPILE="1", **pool).start()
    most = 0
    try:
        jobs = [service.client.submit(law, grid=(16, 16), steps=4, record={"phase": 2}) for law in ("tiny", "mlp")]
        [pid] = service.worker_pids()

        def over() -> bool:
            nonlocal most
            most = max(most, len(os.listdir(f"/proc/{pid}/task")))
            return all(job.refresh().state == "succeeded" for job in jobs)

        until(over, 240, "both jobs")
    finally:
        service.stop()
    assert POOL <= most < 2 * (POOL - 1)
