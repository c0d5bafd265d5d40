"""A job that continues another one computes what that one would have computed, bit for bit, from every kept state."""

from __future__ import annotations

import numpy as np
import pytest

from leym.contract.problems import Problem
from leym.contract.spec import JobSpec
from leym.frames.garbage import garbage, referenced_bytes
from leym.frames.kept import describe_states, kept_states, load_state
from leym.frames.layout import job_prefix
from tests.support.service import until
from tests.support.site import Site

RECORD = [{"field": "psi", "every": 20}, {"field": "phase", "every": 5}, {"field": "activity", "every": 7}]
BASE = {
    "law": "tiny",
    "grid": (8, 8),
    "seed": 3,
    "gamma": 0.03,
    "record": RECORD,
    "observe": {"every": 4},
    "keep_states": {"every": 15},
}
KINDS = ("UNET", "UNET_CONVLSTM", "NCA")  # one without memory, a recurrent one, a stochastic one


@pytest.fixture(scope="module", params=KINDS)
def site(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    law = {"options": {"update_rate": 0.5}} if request.param == "NCA" else {}
    made = Site(f"sqlite:///{folder}/jobs.db", (folder / "store").as_uri(), folder, request.param, **law)
    yield made
    made.table.close()


def submitted(site: Site, steps: int, **changes):
    law = site.laws.resolve("tiny")
    spec = JobSpec.model_validate(BASE | {"steps": steps} | changes)
    return site.table.submit(spec, law=law.ref, precision="fp32", d_state=law.manifest.d_state)[0].id


def run(site: Site, steps: int, **changes):
    job_id = submitted(site, steps, **changes)
    site.run(job_id)
    return site.table.get(job_id)


@pytest.fixture(scope="module")
def long(site):
    return run(site, 100)


def results(site: Site, job, after: int = -1):
    """All that is recorded after a step, by name; and the last state."""
    reader, found = site.reader(job), {}
    for recording in RECORD:
        name = recording["field"]
        steps, values = reader.read(name, after + 1)
        found |= {f"{name} steps": steps, name: values}
    steps, values = reader.observables(None, after + 1)
    return (
        found
        | {"observed": steps}
        | values
        | {f"last {k}": v for k, v in load_state(site.store, job, job.step).items()}
    )


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert np.array_equal(found[name], values, equal_nan=values.dtype.kind in "fc"), name


@pytest.mark.parametrize("step", [45, 60, 90])
def test_a_fork_from_a_kept_state_goes_on_as_if_it_had_not_been_cut(site, long, step):
    fork = run(site, 100, initial={"kind": "continue", "job": long.id, "step": step})
    assert (fork.parent, fork.begins_at, fork.step, fork.steps) == (long.id, step, 100, 100)
    assert_same(results(site, fork), results(site, long, after=step))


def test_an_extension_of_the_last_state_equals_the_long_run(site, long):
    """It ends in the middle of every schedule, and its own part is extended again."""
    short = run(site, 33)
    middle = run(site, 71, initial={"kind": "continue", "job": short.id, "step": 33})
    end = run(site, 100, initial={"kind": "continue", "job": middle.id, "step": 71})
    assert_same(results(site, end), results(site, long, after=71))
    reader = site.reader(middle)
    assert reader.steps("phase").tolist() == list(range(35, 71, 5))
    assert np.array_equal(reader.read("phase")[1], site.reader(long).read("phase", 34, 71)[1])
    assert [job.id for job in site.table.ancestors(end)] == [middle.id, short.id]


def test_a_killed_continuation_keeps_the_states_and_the_frames_of_one_that_was_not(site, long):
    job_id = submitted(site, 100, initial={"kind": "continue", "job": long.id, "step": 15})
    runner = site.runner(checkpoint_s=60)
    thread = site.start(runner, job_id)
    until(lambda: site.table.get(job_id).manifest.get("states") or site.table.get(job_id).final)
    runner.drain()
    thread.join()
    if not site.table.get(job_id).final:
        site.run(job_id)
    job = site.table.get(job_id)
    assert_same(results(site, job), results(site, long, after=15))
    kept = [state.step for state in kept_states(job) if state.kind == "checkpoint"]
    assert kept == [30, 45, 60, 75, 90]
    for step in kept:
        assert_same(load_state(site.store, job, step), load_state(site.store, long, step))
    entries = list(site.store.scan(job_prefix(job_id)))
    assert garbage(job, entries) == []
    assert referenced_bytes(job, entries) == job.stored_bytes


def test_recorded_psi_continues_a_law_without_memory(site, long):
    by_kind = {state.step: state.kind for state in kept_states(long)}
    assert by_kind == {0: "recorded", 20: "recorded", 40: "recorded", 80: "recorded", 100: "last"} | dict.fromkeys(
        (15, 30, 45, 60, 75, 90), "checkpoint"
    )
    initial = {"kind": "continue", "job": long.id, "step": 40}
    if "memory" in load_state(site.store, long, 45):
        job_id = submitted(site, 100, initial=initial)
        runner = site.runner()
        runner.run(job_id, job_id)
        runner.drain()
        job = site.table.get(job_id)
        assert job.state == "failed"
        assert job.error is not None
        assert "has no memory, which law" in job.error["detail"]
    else:
        assert_same(results(site, run(site, 100, initial=initial)), results(site, long, after=40))


def test_a_state_that_is_not_kept_is_named_with_those_that_are(site, long):
    with pytest.raises(Problem, match=f"job {long.id} has psi every 20 steps up to 100 and at the kept steps 15, 30"):
        load_state(site.store, long, 41)
    assert describe_states(long).endswith("75, 90 and at its last step 100")


def test_members_of_a_sweep_keep_states_from_which_jobs_go_on(site):
    sweep = site.sweep(
        {"seed": [3, 4, 5], "gamma": [0.0, 0.03]},
        steps=40,
        **{k: BASE[k] for k in ("record", "observe", "keep_states")},
    )
    site.run_all(sweep)
    for index in (1, 4):
        member = site.table.member(sweep, index)
        assert {state.step: state.kind for state in kept_states(member)}[15] == "checkpoint"
        own = {key: member.spec[key] for key in ("seed", "gamma")}
        whole = run(site, 40, **own)
        for step in (15, 30, 40):
            assert_same(load_state(site.store, member, step), load_state(site.store, whole, step))
        fork = run(site, 40, **own, initial={"kind": "continue", "job": member.id, "step": 15})
        assert_same(results(site, fork), results(site, whole, after=15))


def test_the_start_state_of_a_lineage_is_that_of_its_first_job_also_with_another_seed(site, long):
    """`overlap` compares with it, and it stays when the first job's results are deleted."""
    first = run(site, 30)
    second = run(site, 60, seed=9, initial={"kind": "continue", "job": first.id, "step": 15})
    site.table.delete(first.id)
    third = run(site, 90, seed=9, initial={"kind": "continue", "job": second.id, "step": 60})
    straight = run(site, 90, seed=9, initial={"kind": "continue", "job": long.id, "step": 15})
    assert_same(results(site, third), results(site, straight, after=60))
    tree, more = site.table.lineage(third.id, 100)
    assert ([job.id for job in tree], more) == ([first.id, second.id, third.id], False)
    assert tree[0].deleted_at is not None


def test_a_steered_job_that_is_continued_equals_the_long_one(site):
    """The intervention at the step of the cut is made once, by the job that goes on."""
    noise = {"kind": "noise", "strength": 0.4}
    steered = {
        "gamma": [[0, 0.01], [40, 0.2], [45, 0.0], [80, 0.1]],
        "interventions": [noise | {"step": 20}, noise | {"step": 45}, noise | {"step": 90}],
    }
    whole = run(site, 100, **steered)
    fork = run(site, 100, initial={"kind": "continue", "job": whole.id, "step": 45}, **steered)
    assert_same(results(site, fork), results(site, whole, after=45))
    plain = run(site, 100)
    assert not np.array_equal(results(site, plain)["last psi"], results(site, whole)["last psi"])
