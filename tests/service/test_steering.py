"""A universe that is steered while a service runs it, and whose worker is killed, gives the same bits again."""

from __future__ import annotations

import json
import os
import signal

import numpy as np
import pytest

from leym.client import ProblemError
from leym.contract.spec import JobSpec
from tests.support.command import leym
from tests.support.service import LONG, Service, frames, until


def test_a_job_that_was_steered_and_whose_worker_was_killed_is_repeated_by_its_record(service: Service) -> None:
    plan = [{"step": 40, "kind": "wave", "kx": 0.4}, {"step": 500, "kind": "collapse", "to": "drawn"}]
    gamma = [(0, 0.01), (300, 0.05)]
    job = service.client.submit(steps=800, seed=6, gamma=gamma, interventions=plan, **LONG)
    until(lambda: job.refresh().step > 60, what="some progress")
    job.intervene("vortex", y=4, x=4, radius=3, charge=-1)
    job.intervene("gamma", value=0.2)
    until(lambda: all(one["state"] == "applied" for one in job.interventions()), what="the steps")
    for pid in service.worker_pids():
        os.kill(pid, signal.SIGKILL)
    with pytest.raises(ProblemError) as refused:
        job.intervene("vortex", y=400, x=4, radius=3)
    assert refused.value.status == 422
    vortex, change = (one["step"] for one in job.interventions())
    job.wait(240)
    assert job.as_dict()["epoch"] == 2
    assert [(one["kind"], one["step"]) for one in job.spec["interventions"]] == sorted(
        [("wave", 40), ("vortex", vortex), ("collapse", 500)], key=lambda one: one[1]
    )
    assert [change, 0.2] in job.spec["gamma"]
    mates = [service.client.submit(steps=100, seed=i, **LONG) for i in range(7)]
    again = service.client.submit(JobSpec.model_validate(job.spec | {"law": job.law})).wait(240)
    assert np.array_equal(frames(again), frames(job))
    for name, values in job.series().items():
        assert np.array_equal(again.series()[name], values), name
    with pytest.raises(ProblemError, match="is succeeded") as ended:
        job.intervene("vortex", y=4, x=4, radius=3)
    assert ended.value.status == 409
    for mate in mates:
        mate.wait(240)


def test_the_command_steers_a_job(service: Service) -> None:
    def out(*arguments: str) -> str:
        done = leym(*arguments, LEYM_URL=service.url)
        assert done.returncode == 0, done.stderr
        return done.stdout

    id = out("submit", "tiny", "--grid", "16", "--steps", "30000", "--gamma", "0:0.01,20000:0.05").strip()
    asked = json.loads(out("intervene", id, "paint", "y=3", "x=4", "radius=2", "channel=0", "--at", "29000", "--json"))
    assert asked["intervention"]["step"] == 29000
    out("cancel", id)
    assert out("intervene", id).split("\t")[3] == "paint"
