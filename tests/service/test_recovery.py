"""A service whose workers, broker or supervisor end: jobs go on, with the same bits."""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from leym.client import Client
from tests.support.processes import children, resident
from tests.support.service import LONG, Service, add_laws, frames, until


@pytest.fixture
def start():
    """Starts services, and stops those that a test which fails leaves behind."""
    with ExitStack() as stack:

        def starting(data: Path, *arguments: str, **settings: str) -> Service:
            up = Service(data, "--no-flower", *arguments, **settings).start()
            stack.callback(up.stop)
            return up

        yield starting


def test_a_worker_killed_in_mid_run_loses_nothing_and_changes_no_bit(service):
    whole = service.client.submit(steps=400, seed=6, **LONG).wait(240)
    job = service.client.submit(steps=400, seed=6, **LONG)
    until(lambda: job.refresh().step > 50, what="some progress")
    for pid in service.worker_pids():
        os.kill(pid, signal.SIGKILL)
    job.wait(240)
    assert job.as_dict()["epoch"] == 2
    assert np.array_equal(frames(job), frames(whole))
    for name, values in whole.series().items():
        assert np.array_equal(job.series()[name], values), name


def test_the_memory_of_a_law_survives_the_death_of_its_worker(service):
    spec = {"grid": (16, 16), "record": {"psi": 20}, "precision": "fp32", "seed": 12}
    whole = service.client.submit("unet_convlstm", steps=300, **spec).wait(240)
    job = service.client.submit("unet_convlstm", steps=300, **spec)
    until(lambda: job.refresh().step > 50, what="some progress")
    for pid in service.worker_pids():
        os.kill(pid, signal.SIGKILL)
    job.wait(240)
    assert job.as_dict()["epoch"] == 2
    assert np.array_equal(frames(job), frames(whole))


def test_up_serves_compiled_laws_hands_jobs_back_at_its_end_and_goes_on_after_a_restart(start, tmp_path):
    add_laws(tmp_path)
    settings = {"LEYM_COMPILE": "1", "LEYM_WARM": "tiny/nf4/16x16"}
    up = start(tmp_path, **settings)
    idle = max(resident(pid) for pid in up.worker_pids())
    assert idle < 1000, "an idle worker"
    spec = {"grid": (16, 16), "record": {"psi": 100}, "precision": "nf4", "seed": 1}
    whole = up.client.submit("tiny", steps=2000, **spec).wait(240)
    job = up.client.submit("tiny", steps=2000, **spec)
    waiting = [up.client.submit("tiny", steps=100, **spec) for _ in range(8)]
    until(lambda: job.refresh().step > 200, what="some progress")
    assert up.stop() == 0, up.tail()
    again = start(tmp_path, **settings)
    after = Client(again.url)
    assert np.array_equal(frames(after.job(job.id).wait(240)), frames(after.job(whole.id)))
    for other in waiting:
        after.job(other.id).wait(240)
    [segment] = after.job(job.id).list_segments()
    assert segment["compiled"]
    assert segment["batch_size"] >= 1
    assert again.stop() == 0, again.tail()


def test_a_fleet_at_zero_wakes_for_jobs_and_goes_back_to_zero(start, tmp_path):
    add_laws(tmp_path)
    up = start(tmp_path, "--autoscale", "0:2", LEYM_AUTOSCALE_IDLE_S="2")
    assert up.worker_pids() == []
    jobs = [up.client.submit("tiny", (16, 16), 50, seed=i) for i in range(6)]
    for job in jobs:
        job.wait(240)
    until(lambda: not up.worker_pids() and not up.client.workers(), what="no worker is left")
    log = up.log.read_text()
    assert "start 1" in log
    assert "drain ['worker0']" in log
    up.client.submit("tiny", (16, 16), 50).wait(240)
    assert up.stop() == 0, up.tail()


def test_the_broker_can_be_killed_and_wiped_under_load(start, tmp_path):
    add_laws(tmp_path)
    up = start(tmp_path)
    jobs = [up.client.submit(steps=240, seed=i, **LONG) for i in range(10)]
    until(lambda: jobs[0].refresh().step > 50, what="some progress")
    [valkey] = [p for p in children(up.process.pid) if b"valkey-server" in Path(f"/proc/{p}/cmdline").read_bytes()]
    for file in (tmp_path / "valkey").rglob("appendonly*"):
        if file.is_file():
            file.unlink()
    os.kill(valkey, signal.SIGKILL)
    late = up.client.submit(steps=100, seed=99, **LONG)  # taken while the broker is away
    for job in [*jobs, late]:
        job.wait(240)
    assert up.stop() == 0, up.tail()
