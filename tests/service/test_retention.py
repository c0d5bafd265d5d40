"""A service on S3 and PostgreSQL, as users see it: jobs survive their worker, results expire, a full disk refuses."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest

from leym.client import ProblemError
from leym.contract.spec import JobSpec
from leym.frames.layout import job_prefix
from leym.frames.stores.open import open_store
from tests.support.service import Service, add_laws, until

RECORD = {"phase": 10, "psi": 40}


@pytest.fixture(scope="module")
def remote(tmp_path_factory, s3, postgresql):
    """Nothing of a job is on this machine: its row is in PostgreSQL, its frames in a bucket."""
    data = tmp_path_factory.mktemp("remote")
    add_laws(data)
    url = s3.url()
    running = Service(data, LEYM_STORE_URL=url, LEYM_DATABASE_URL=postgresql, LEYM_GC_S="0.5").start()
    running.store = open_store(url)
    yield running
    assert running.stop() == 0, running.tail()
    assert not (data / "store").exists()
    assert not (data / "jobs.sqlite").exists()


def status_of(call) -> int:
    with pytest.raises(ProblemError) as refused:
        call()
    return refused.value.status


def test_a_job_in_a_bucket_survives_its_worker_and_has_the_bits_of_one_in_files(remote, service):
    spec = {"law": "tiny", "grid": (16, 16), "steps": 800, "record": RECORD, "observe": 5, "seed": 7}
    job = remote.client.submit(**spec)
    until(lambda: job.refresh().step > 150, what="it has come some way")
    [pid] = remote.worker_pids()
    os.kill(pid, signal.SIGKILL)
    job.wait(240)
    assert job.as_dict()["epoch"] >= 2
    alone = service.client.submit(**spec).wait(240)
    for field in RECORD:
        for mine, other in zip(job.array(field), alone.array(field), strict=True):
            assert np.array_equal(mine, other), field
    assert {k: v.tolist() for k, v in job.series().items()} == {k: v.tolist() for k, v in alone.series().items()}
    job.delete()
    assert list(remote.store.list(job_prefix(job.id))) == []


def test_results_expire_and_the_record_stays(remote):
    kept = remote.client.submit("tiny", (8, 8), 20, {"phase": 5}).wait(240)
    job = remote.client.submit("tiny", (8, 8), 20, {"phase": 5}, ttl_s=2).wait(240)
    assert job.as_dict()["expires_at"] > job.as_dict()["finished_at"]
    assert kept.as_dict()["expires_at"] is None
    until(lambda: not list(remote.store.list(job_prefix(job.id))), what="its objects are gone")
    assert job.refresh().state == "succeeded"
    assert job.as_dict()["step"] == 20
    assert status_of(lambda: job.array("phase")) == 410
    fork = {"kind": "state", "job": job.id, "step": 20}
    assert status_of(lambda: remote.client.submit("tiny", (8, 8), 20, {"phase": 5}, initial=fork)) == 422
    assert [event.step for event in job.stream()] == []
    assert kept.array("phase")[1].shape == (5, 8, 8)


def test_a_disk_that_fills_up_takes_in_no_more_and_ends_what_runs(tmp_path):
    add_laws(tmp_path)
    running = Service(tmp_path, LEYM_DISK_FREE_MIN=str(2**62)).start()
    try:
        for call in (
            lambda: running.client.submit("tiny", (8, 8), 20),
            lambda: running.client.judge("tiny", "nf4"),
            lambda: running.client.upload_state(np.ones((8, 8, 2), np.complex64)),
        ):
            assert status_of(call) == 507
        storage = running.client.queue()["storage"]
        assert storage["admits"] is False
        assert 0 < storage["free_bytes"] < storage["free_min_bytes"]
        assert running.client.queue()["jobs"] == 0
        # a job of before runs to its end: only taking in has stopped
        law = next(law for law in running.client.laws() if law["name"] == "tiny")
        spec = JobSpec(law="tiny", grid=(8, 8), steps=50, record=[{"field": "phase", "every": 5}])
        ref = f"{law['name']}@{law['digest']}"
        job, _ = running.table.submit(spec, law=ref, precision="fp32", d_state=law["d_state"])
        until(lambda: running.client.job(job.id).state == "succeeded", what="it ends")
    finally:
        assert running.stop() == 0, running.tail()
