"""`leym verify` finds equal bits, or the first step with different ones."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from leym.client import ProblemError
from leym.client.verify import compare

SPEC = {"law": "tiny", "grid": (16, 16), "steps": 60, "record": {"psi": 20, "phase": 30}, "observe": 15, "seed": 5}


def verify(service, *arguments):
    command = [sys.executable, "-m", "leym.cli", "--url", service.url, "verify", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=240)


def test_a_job_run_again_has_the_same_bits_and_leaves_nothing(service):
    job = service.client.submit(**SPEC, reuse=True).wait(240)
    done = verify(service, job.id, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["again"] != job.id
    assert service.client.job(job.id).state == "succeeded"
    arrays = {one["name"]: one for one in found["arrays"]}
    assert found["identical"]
    assert {"psi", "phase", "activity"} <= set(arrays)
    assert arrays["psi"]["frames"] == 4
    assert arrays["phase"]["frames"] == 3
    assert arrays["psi"]["digests"][0] == arrays["psi"]["digests"][1]
    assert found["computed_by"]["first"] == found["computed_by"]["second"] == job.list_segments()
    with pytest.raises(ProblemError) as gone:
        service.client.job(found["again"])
    assert gone.value.status == 410
    assert "psi\t4\tTrue" in verify(service, job.id).stdout


def test_another_universe_is_told_by_its_first_other_step_and_its_distance(service):
    first = service.client.submit(**SPEC).wait(240)
    second = service.client.submit(**SPEC | {"gamma": 0.02}).wait(240)
    psi = next(one for one in compare(first, second) if one.name == "psi")
    assert not psi.identical
    assert psi.differs_from == 20
    apart = np.abs(first.array("psi")[1].astype(np.complex128) - second.array("psi")[1].astype(np.complex128))
    assert psi.largest == apart.max()
    longer = service.client.submit(**SPEC | {"steps": 80}).wait(240)
    with pytest.raises(ValueError, match="psi: the jobs recorded 4 and 5 frames"):
        compare(first, longer)


def test_what_cannot_be_compared_is_said(service):
    job = service.client.submit("tiny", (8, 8), 5).wait(240)
    done = verify(service, job.id)
    assert done.returncode == 2
    assert "recorded nothing" in done.stderr
    endless = service.client.submit("tiny", (8, 8), 10**6, {"psi": 10**5})
    done = verify(service, endless.id)
    assert done.returncode == 2
    assert "only a job that has succeeded" in done.stderr
    endless.cancel()
    assert verify(service, "nobody").returncode == 2
