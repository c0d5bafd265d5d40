"""Time travel in a real service: extensions and forks equal the runs that were never cut, alone and beside others."""

from __future__ import annotations

import json

import numpy as np
import pytest

from leym.client import Client, ProblemError
from tests.support.command import leym
from tests.support.service import LONG

RUN = LONG | {"record": {"psi": 25, "phase": 10}, "observe": 5, "gamma": 0.07}


def everything(job):
    """All that a job has recorded, by name, with the steps."""
    found = {name: job.array(name) for name in ("psi", "phase")}
    return found | {name: (job.series()["step"], values) for name, values in job.series().items()}


def assert_goes_on(job, whole, after):
    expected = everything(whole)
    for name, (steps, values) in everything(job).items():
        later = expected[name][0] > after
        assert np.array_equal(steps, expected[name][0][later]), name
        assert np.array_equal(values, expected[name][1][later], equal_nan=True), name


def test_an_extended_job_equals_the_long_one_and_a_deleted_parent_stays_a_record(service):
    client: Client = service.client
    whole = client.submit(steps=200, seed=31, keep_states=40, **RUN)
    short = client.submit(steps=110, seed=31, keep_states=40, **RUN)
    mates = [client.submit(steps=300, seed=seed, **RUN) for seed in (1, 2)]
    whole.wait(240)
    beside = short.wait(240).extend(200)  # with the mates in the batch
    for mate in mates:
        mate.wait(240)
    alone = short.extend(200).wait(240)
    for job in (alone, beside.wait(240)):
        assert (job.spec["gamma"], job.law, job.parent) == (0.07, short.law, short.id)
        assert job.differs == {"steps": [110, 200]}
        assert_goes_on(job, whole, after=110)
    fork = short.fork(80, steps=200).wait(240)
    assert_goes_on(fork, whole, after=80)
    assert [state["step"] for state in short.states() if state["kind"] == "checkpoint"] == [40, 80]
    assert np.array_equal(short.state_at(80), whole.state_at(80))
    assert np.array_equal(short.state_at(75), whole.array("psi", 75, 76)[1][0])
    with pytest.raises(ProblemError, match="psi every 25 steps up to 110 and at the kept steps 40, 80 and at its last"):
        short.fork(81)

    pytest.importorskip("zarr")
    joined, straight = fork.dataset(lineage=True), whole.dataset()
    assert joined.sizes == straight.sizes
    for name, variable in straight.data_vars.items():
        assert np.array_equal(joined[name].values, variable.values, equal_nan=True), name
        assert np.array_equal(joined[variable.dims[0]].values, straight[variable.dims[0]].values)

    short.delete()
    nodes = {node["id"]: node for node in fork.lineage()}
    assert nodes.keys() == {short.id, alone.id, beside.id, fork.id}
    assert (nodes[short.id]["deleted"], nodes[short.id]["spec"]["gamma"]) == (True, 0.07)
    assert (nodes[fork.id]["from_step"], nodes[fork.id]["to_step"]) == (80, 200)
    with pytest.warns(UserWarning, match=f"the results of job {short.id} are gone"):
        left = fork.dataset(lineage=True)
    assert left["psi"].shape[0] == len(range(100, 201, 25))


def test_the_command_extends_forks_and_shows_the_lineage(service):
    parent = service.client.submit("tiny", (16, 24), 20, gamma=0.25, precision="fp32", keep_states=8).wait(240)
    url = {"LEYM_URL": service.url}
    extended = leym("extend", parent.id, "--steps", "30", **url)
    assert extended.returncode == 0, extended.stderr
    assert extended.stderr.strip() == f"differs from {parent.id}: steps 30 (there 20)"
    child = service.client.job(extended.stdout.strip())
    assert (child.spec["gamma"], child.spec["grid"]) == (0.25, [16, 24])
    forked = leym("fork", parent.id, "--step", "16", "--gamma", "0.5", "--watch", "--json", **url)
    assert forked.returncode == 0, forked.stderr
    assert json.loads(forked.stdout)["differs"] == {"gamma": [0.25, 0.5]}
    states = leym("states", parent.id, **url).stdout.splitlines()
    assert [line.split("\t")[:2] for line in states] == [["8", "checkpoint"], ["16", "checkpoint"], ["20", "last"]]
    lines = [line.split("\t") for line in leym("lineage", parent.id, **url).stdout.splitlines()]
    assert [line[1:3] for line in lines] == [["0", "self"], ["1", "descendant"], ["1", "descendant"]]
    assert lines[2][4:] == ["16-20/20", "gamma 0.5 (there 0.25)"]
    again = leym("submit", "tiny", "--grid", "16x24", "--steps", "20", "--gamma", "0.25", "--precision", "fp32",
                 "--keep-states", "8", "--reuse", **url)  # fmt: skip
    assert again.stdout.strip() == parent.id
