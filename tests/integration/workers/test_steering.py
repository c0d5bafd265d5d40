"""Jobs that are steered while they run: the record's spec gives the same bits, whatever happened to the worker."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
import torch

from leym.contract.problems import Problem
from leym.contract.records import MISSED, Fenced
from leym.contract.spec import JobSpec
from leym.engine.batch import Batch
from leym.frames.states import put_state
from leym.jobs.retention import Retention
from tests.support.job_world import upload
from tests.support.service import until
from tests.support.site import Site

STEPS = 600
PAINT = {"kind": "paint", "step": None, "y": 2.0, "x": 3.0, "radius": 2.0, "vector": None, "channel": 0, "phase": 0.5}
NOISE = {"kind": "noise", "step": None, "strength": 0.5, "region": None}
GAMMA = {"kind": "gamma", "step": None, "value": 0.2}


@pytest.fixture
def site(place, tmp_path, request):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    made = Site(*place, tmp_path, getattr(request, "param", "NCA"))
    yield made
    made.table.close()
    torch.set_num_threads(threads)


def alone(site: Site, job_id: str) -> dict[str, np.ndarray]:
    """Return the results of the spec of a job's record, run by itself."""
    return site.everything(site.single(site.table.get(job_id)))


def assert_same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert np.array_equal(found[name], values), name


class Held:
    """A worker that goes no further than step 200 before the test has steered its job."""

    def __init__(self, site: Site, job_id: str):
        self.site, self.job_id, self.runner, self.steered = site, job_id, site.runner(), threading.Event()
        launch = self.runner.engine._pipeline.launch

        def wait_and_launch(batch: Batch, *arguments: Any) -> Any:
            if any(group.step >= 200 for group in batch.groups):
                assert self.steered.wait(240)
            return launch(batch, *arguments)

        self.runner.engine._pipeline.launch = wait_and_launch  # type: ignore[method-assign]
        self.thread = site.start(self.runner, job_id)
        until(lambda: site.table.get(job_id).step > 20, what="progress")

    def steer(self, *changes: dict[str, Any]) -> list[int | None]:
        """Ask for changes in the running job, and return the steps at which they act."""
        for change in changes:
            self.site.table.intervene(self.job_id, change)
        self.runner.steer(self.job_id)
        self.steered.set()
        until(lambda: not self.site.table.asked_to_change([self.job_id]), what="the steps")
        return [one.step for one in self.site.table.interventions(self.job_id)]


@pytest.mark.parametrize("site", ["UNET_CONVLSTM", "NCA"], indirect=True)
def test_a_job_that_was_steered_live_has_the_bits_of_its_record(site):
    job_id, mate = site.submit(), site.submit()
    worker = Held(site, job_id)
    beside = site.start(worker.runner, mate)
    *steps, last = worker.steer(PAINT, GAMMA, NOISE, NOISE | {"step": 590})
    assert len(set(steps)) == 1
    assert last == 590
    for thread in (worker.thread, beside):
        thread.join()
    worker.runner.drain()
    job = site.table.get(job_id)
    assert job.state == "succeeded"
    assert job.spec["interventions"] == [PAINT | {"step": steps[0]}, NOISE | {"step": steps[0]}, NOISE | {"step": 590}]
    assert job.spec["gamma"] == [[0, 0.01], [steps[0], 0.2]]
    found = site.everything(job)
    assert_same(found, alone(site, job_id))
    plain = site.everything(site.table.get(mate))
    last_same = steps[0] // 20
    assert np.array_equal(plain["psi"][: last_same + 1], found["psi"][: last_same + 1])  # the frame before it acts
    assert not np.array_equal(plain["psi"][last_same + 1], found["psi"][last_same + 1])


def test_a_worker_that_takes_over_meets_the_intervention_at_the_same_step(site):
    """The first worker falls silent at once after it has written the step; nobody hears of what it computes then."""
    job_id = site.submit()
    worker = Held(site, job_id)
    [step] = worker.steer(NOISE)
    until(lambda: site.table.reap(site.table.leases(), 99), what="the end of its lease")  # it is a zombie from now on
    with pytest.raises(Fenced):
        site.table.settle_interventions(job_id, 1, 0)
    site.table.intervene(job_id, PAINT)  # while nobody holds the job
    committed = site.table.get(job_id).step
    site.run(job_id)
    worker.thread.join()
    worker.runner.drain()
    job = site.table.get(job_id)
    asked = site.table.interventions(job_id)
    assert asked[0].step == step
    assert asked[1].step >= committed  # readers have seen frames up to there
    assert sorted(one["step"] for one in job.spec["interventions"]) == sorted(one.step for one in asked)
    assert_same(site.everything(job), alone(site, job_id))


def test_frames_that_readers_have_seen_never_change(site):
    """The job goes back to its start, since its checkpoints are lost, and is steered before it is where it was."""
    job_id = site.submit()
    site.run_a_part(job_id)
    seen, before = site.results(job_id)["psi"], site.table.get(job_id).step
    site.store.delete([key for key in site.store.list(f"jobs/{job_id}/") if "/checkpoints/" in key])
    site.table.intervene(job_id, NOISE)
    site.run(job_id)
    [asked] = site.table.interventions(job_id)
    assert asked.step >= before
    found = site.results(job_id)["psi"]
    n = before // 20 + 1
    assert np.array_equal(found[:n], seen[:n])
    assert_same(site.everything(site.table.get(job_id)), alone(site, job_id))


def test_a_drained_worker_hands_over_what_it_was_asked(site):
    job_id = site.submit()
    worker = Held(site, job_id)
    site.table.intervene(job_id, NOISE)
    worker.runner.steer(job_id)
    worker.steered.set()
    worker.runner.drain()
    worker.thread.join()
    site.run(job_id)
    job = site.table.get(job_id)
    assert len(job.spec["interventions"]) == 1
    assert_same(site.everything(job), alone(site, job_id))


def test_a_queued_job_begins_with_what_it_was_asked(site):
    job_id = site.submit()
    site.table.intervene(job_id, PAINT)
    site.table.intervene(job_id, GAMMA)
    site.run(job_id)
    job = site.table.get(job_id)
    assert job.spec["interventions"] == [PAINT | {"step": 0}]
    assert job.spec["gamma"] == 0.2
    assert_same(site.everything(job), alone(site, job_id))


def test_what_cannot_be_steered_is_refused(site):
    job_id, project = site.submit(), site.table.of("another")
    for change, words in ((NOISE | {"step": 600}, "to 599"), (NOISE | {"step": 10**7}, "to 599")):
        with pytest.raises(Problem, match=words) as found:
            site.table.intervene(job_id, change)
        assert found.value.status == 422
    with pytest.raises(Problem) as found:
        project.intervene(job_id, NOISE)
    assert found.value.status == 404
    sweep = site.sweep({"seed": [1, 2]})
    member = site.table.list(sweep=sweep)[0][0]
    with pytest.raises(Problem, match="member of sweep") as found:
        site.table.intervene(member.id, NOISE)
    assert found.value.status == 409
    site.table.cancel(job_id)
    with pytest.raises(Problem, match="is cancelled") as found:
        site.table.intervene(job_id, NOISE)
    assert found.value.status == 409


def test_what_comes_after_the_last_step_is_missed_and_changes_nothing(site):
    job_id = site.submit()
    site.table.intervene(job_id, NOISE)
    claim = site.table.claim(job_id, "w", 60, 3)
    spec = site.table.settle_interventions(job_id, claim.epoch, STEPS)
    assert spec["interventions"] == []
    assert [one.step for one in site.table.interventions(job_id)] == [MISSED]
    assert site.table.settle_interventions(job_id, claim.epoch, 3) == spec


def test_an_uploaded_state_is_kept_for_as_long_as_an_intervention_needs_it(site):
    job_id, state = site.submit(), put_state(site.store, upload(1))
    change = {"kind": "set", "step": None, "region": None, "vector": None, "state": state}
    assert isinstance(site.table, Retention)
    site.table.intervene(job_id, change)
    assert site.table.dependencies().states == {state}
    claim = site.table.claim(job_id, "w", 60, 3)
    spec = site.table.settle_interventions(job_id, claim.epoch, 5)
    assert JobSpec.model_validate(spec).interventions[0].step == 5
    assert site.table.dependencies().states == {state}
    site.table.cancel(job_id)
    assert site.table.dependencies().states == frozenset()


@pytest.mark.parametrize("kind", ["gamma", "gamma and initial.strength"])
def test_members_with_schedules_have_the_bits_of_single_jobs(kind, site):
    axes = {"gamma": [0.02, [[0, 0.01], [25, 0.3]], [[0, 0.3], [7, 0.0]]], "seed": [1, 2]}
    axes |= {"initial.strength": [0.1, 0.5]} if "initial" in kind else {}
    sweep = site.sweep(axes, steps=40, per_block=4, gamma=[[0, 9], [1, 8]], interventions=[NOISE | {"step": 20}])
    site.run_all(sweep)
    members = site.table.list(sweep=sweep, limit=100)[0]
    for member in members[:: 1 if kind == "gamma" else 3]:
        assert_same(site.everything(member), site.everything(site.single(member)))
