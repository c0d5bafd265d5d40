"""Sweeps of a running service: every member is the job that it would be alone, and all together are one array."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import urllib.parse
import urllib.request

import numpy as np
import pandas
import pytest

from leym.client import latin_hypercube, linspace, uniform
from leym.contract.spec import JobSpec
from tests.support.service import until

RECORD = {"record": {"psi": 10, "phase": 10}, "observe": {"every": 10, "names": ["activity", "coherence"]}}
SMALL = {"law": "tiny", "grid": (8, 8), "steps": 60, "precision": "fp32", **RECORD}
SLOW = {"law": "tiny", "grid": (16, 16), "steps": 400, "precision": "fp32", "record": {"psi": 20}, "observe": 20}

SWEEPS = {
    "product": {"gamma": [0.0, 0.02, 0.3], "seed": range(4)},
    "shapes": {"grid": [(8, 8), (8, 12)], "seed": [5, 9], "initial": {"kind": "complex_noise", "strength": [0.1, 1.0]}},
    "zip": {"mode": "zip", "gamma": linspace(0, 0.1, 3), "seed": [3, 1, 2], "steps": [20, 60, 40]},
    "latin": {
        "mode": latin_hypercube(5, seed=7),
        "gamma": uniform(0, 0.1),
        "axes": {"seed": {"start": 0, "count": 99}},
    },
}


def get(service, path, **query):
    """Body of a GET. A list in the query is one parameter for each item."""
    text = urllib.parse.urlencode(query, doseq=True)
    with urllib.request.urlopen(f"{service.url}{path}?{text}") as answer:
        return answer.read()


def post(service, path):
    request = urllib.request.Request(service.url + path, method="POST")
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def results(job):
    """Everything that a job recorded: arrays by name."""
    found = dict(job.series())
    for recording in job.spec["record"]:
        steps, found[recording["field"]] = job.array(recording["field"])
        found[f"steps of {recording['field']}"] = steps
    return found


def alone(service, members):
    """The results of members, each run as a job of its own."""
    jobs = [service.client.submit(JobSpec.model_validate(member.spec)) for member in members]
    return [results(job.wait(240)) for job in jobs]


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert np.array_equal(found[name], values), name


@pytest.fixture(scope="module")
def sweeps(service):
    """The sweeps by name, ended, with the results of their members."""
    made = {name: service.client.sweep(**(SMALL | axes)) for name, axes in SWEEPS.items()}
    return {name: sweep.wait(240) for name, sweep in made.items()}


@pytest.mark.parametrize("name", SWEEPS)
def test_every_member_has_the_bits_of_a_single_job(name, service, sweeps):
    sweep = sweeps[name]
    assert (sweep.state, sweep.counts["succeeded"]) == ("succeeded", sweep.size)
    members = [sweep.member(index) for index in range(sweep.size)]
    assert len({member.id for member in members}) == sweep.size
    assert [job.id for job in sweep.jobs()] == [member.id for member in reversed(members)]
    for member, expected in zip(members, alone(service, members), strict=True):
        assert member.state == "succeeded"
        assert len(expected["psi"]) == member.steps // 10 + 1
        assert_same(results(member), expected)


def test_a_sweep_is_one_array_with_its_axes_as_dimensions(service, sweeps):
    import xarray

    sweep = sweeps["product"]
    with xarray.open_zarr(f"{service.url}/v1/sweeps/{sweep.id}/store.zarr") as found:
        assert found["psi"].dims == ("gamma", "seed", "step", "y", "x", "channel")
        one = results(sweep.member(4 + 2))
        here = found.sel(gamma=0.02, seed=2)
        assert np.array_equal(here["phase"], one["phase"])
        assert np.array_equal(here["psi"], one["psi"])
        assert np.array_equal(here["activity"], one["activity"])
        assert np.array_equal(here["phase"].sel(step=30), one["phase"][3])
        assert (found["steps_done"] == 60).all()
        states = found["state"].attrs["flag_meanings"].split()
        assert (found["state"] == states.index("succeeded")).all()
    shapes = sweeps["shapes"].datasets()
    assert sorted(one.sizes["x"] for one in shapes.values()) == [8, 12]
    latin = sweeps["latin"]
    with xarray.open_zarr(f"{service.url}/v1/sweeps/{latin.id}/store.zarr") as found:
        assert found["phase"].dims[0] == "member"
        for index in range(latin.size):
            member = latin.member(index)
            assert found["gamma"].values[index] == member.as_dict()["point"]["gamma"]
            assert np.array_equal(found["phase"][index], results(member)["phase"])


def test_a_table_has_one_row_per_member_in_every_format(service, sweeps):
    import pyarrow as pa
    import pyarrow.parquet as pq

    sweep = sweeps["product"]
    members = [sweep.member(index) for index in range(sweep.size)]
    last = {name: np.array([results(m)[name][-1] for m in members]) for name in ("activity", "coherence")}
    path = f"/v1/sweeps/{sweep.id}/table"
    csv = pandas.read_csv(io.BytesIO(get(service, path, format="csv")))
    parquet = pq.read_table(io.BytesIO(get(service, path, format="parquet"))).to_pandas()
    arrow = pa.ipc.open_stream(get(service, path, format="arrow")).read_all().to_pandas()
    for table in (csv, parquet, arrow):
        assert table["index"].tolist() == list(range(12))
        assert table["id"].tolist() == [member.id for member in members]
        assert table["gamma"].tolist() == [0.0] * 4 + [0.02] * 4 + [0.3] * 4
        assert table["seed"].tolist() == [0, 1, 2, 3] * 3
        for name, values in last.items():
            assert table[name].tolist() == values.tolist()
    query = {"format": "csv", "filter": ["gamma>0.01", "seed<3"], "sort": "activity", "descending": "true"}
    found = pandas.read_csv(io.BytesIO(get(service, path, **query)))
    kept = [4, 5, 6, 8, 9, 10]
    assert found["index"].tolist() == sorted(kept, key=lambda i: -last["activity"][i])
    query = {"format": "csv", "aggregate": "mean,sd,q25,count", "value": "coherence"}
    found = pandas.read_csv(io.BytesIO(get(service, path, **query)))
    by_gamma = last["coherence"].reshape(3, 4)
    assert found["gamma"].tolist() == [0.0, 0.02, 0.3]
    assert found["coherence.mean"].tolist() == pytest.approx(by_gamma.mean(axis=1), rel=1e-12)
    assert found["coherence.sd"].tolist() == pytest.approx(by_gamma.std(axis=1, ddof=1), rel=1e-12)
    assert found["coherence.q25"].tolist() == pytest.approx(np.quantile(by_gamma, 0.25, axis=1), rel=1e-12)
    summary = sweep.summary()["observables"]["activity"]
    counts, edges = np.histogram(last["activity"], 20)
    assert summary["counts"] == counts.tolist()
    assert summary["edges"] == edges.tolist()


def test_a_member_answers_by_its_index_as_a_job(service, sweeps):
    sweep = sweeps["product"]
    member = sweep.member(7)
    path = f"/v1/sweeps/{sweep.id}/members/7"
    assert json.loads(get(service, path))["id"] == member.id == json.loads(get(service, f"/v1/jobs/{member.id}"))["id"]
    for asked in ({"format": "png"}, {"format": "npy"}):
        theirs = get(service, f"/v1/jobs/{member.id}/frames/phase", **asked)
        assert get(service, f"{path}/frames/phase", **asked) == theirs
    assert get(service, f"{path}/frames/phase", format="png").startswith(b"\x89PNG")
    observables = json.loads(get(service, f"{path}/observables"))
    assert json.dumps(observables["activity"]) == json.dumps(results(member)["activity"].tolist())
    assert [frame.step for frame in member.stream()] == list(range(0, 61, 10))
    events = get(service, f"{path}/events").decode()
    steps = [
        int(one) for event in events.split("\n\n") if "event: frame" in event for one in re.findall(r"id: (\d+)", event)
    ]
    assert steps == list(range(0, 61, 10))
    assert "event: end" in events


def test_a_sweep_is_paused_resumed_and_hurried_and_a_member_leaves(service):
    sweep = service.client.sweep(seed=range(6), priority=2, **SLOW)
    until(lambda: sweep.member(0).step > 40, what="some progress")
    assert sweep.pause().state == "paused"
    until(lambda: service.simulators()[0]["busy"] == 0, what="free slots")
    before = [sweep.member(index).step for index in range(6)]
    other = service.client.submit(**SMALL).wait(240)  # the worker serves others meanwhile
    assert other.state == "succeeded"
    assert [sweep.member(index).step for index in range(6)] == before
    assert sweep.set_priority(8).state == "paused"
    left = post(service, f"/v1/sweeps/{sweep.id}/members/5/cancel")
    assert left["state"] == "cancelled"
    assert sweep.resume().state == "running"
    assert sweep.member(1).as_dict()["priority"] == 8
    assert sweep.wait(240).counts["succeeded"] == 5
    assert sweep.state == "cancelled", "the worst state of a member"
    cancelled = sweep.member(5)
    assert cancelled.state == "cancelled"
    assert len(cancelled.array("psi")[0]) == (cancelled.step // 20 + 1 if before[5] else 0)
    members = [sweep.member(index) for index in (0, 3)]
    for member, expected in zip(members, alone(service, members), strict=True):
        assert_same(results(member), expected)


def test_a_running_member_leaves_and_a_cancelled_sweep_keeps_what_is_committed(service):
    sweep = service.client.sweep(seed=range(3), **(SLOW | {"steps": 10**6}))
    until(lambda: min(sweep.member(index).step for index in range(3)) > 40, what="some progress")
    post(service, f"/v1/sweeps/{sweep.id}/members/1/cancel")
    step = sweep.member(1).step
    then = sweep.member(2).step
    until(lambda: sweep.member(2).step > then, what="the others go on")
    assert sweep.member(1).step == step
    assert sweep.cancel().counts["cancelled"] == 3
    until(lambda: service.simulators()[0]["busy"] == 0, what="free slots")
    for index in range(3):
        member = sweep.member(index)
        assert member.state == "cancelled"
        assert len(member.array("psi")[0]) == member.step // 20 + 1
    assert sweep.refresh().state == "cancelled"


def test_failed_members_run_again(service):
    """Their start state is away when they start, and is back when they are tried again."""
    state = np.random.default_rng(1).normal(size=(8, 8, 2)).astype(np.complex64)
    upload = service.client.upload_state(state)
    [pid] = service.worker_pids()
    os.kill(pid, signal.SIGSTOP)
    try:
        initial = [{"kind": "upload", "id": upload}]
        sweep = service.client.sweep(axes={"initial": initial}, gamma=[0.0, 0.1], **SMALL)
        [file] = (service.data / "store" / "states").glob(f"{upload}*")
        file.unlink()
    finally:
        os.kill(pid, signal.SIGCONT)
    assert sweep.wait(240).counts["failed"] == 2
    assert upload in sweep.member(0).error["detail"]
    service.client.upload_state(state)
    assert sweep.retry().state == "running"
    assert sweep.wait(240).counts["succeeded"] == 2
    members = [sweep.member(index) for index in range(2)]
    for member, expected in zip(members, alone(service, members), strict=True):
        assert_same(results(member), expected)


def test_rules_stop_members_where_their_observables_say(service, sweeps):
    free = sweeps["product"]
    series = [results(free.member(index)) for index in range(free.size)]
    bound = float(np.median([one["coherence"][-1] for one in series]))
    rule = {"observable": "coherence", "below": bound, "for": 2}
    sweep = service.client.sweep(stop=[rule], **(SMALL | SWEEPS["product"])).wait(240)
    expected = []
    for one in series:
        below = one["coherence"] < bound
        held = np.flatnonzero(below[1:] & below[:-1])
        expected.append(int(one["step"][held[0] + 1]) if len(held) else 60)
    assert len(set(expected)) > 1
    assert [sweep.member(index).step for index in range(sweep.size)] == expected
    rows = sweep.table("rows")
    assert [row["state"] for row in rows] == ["succeeded"] * sweep.size
    for row, whole, step in zip(rows, series, expected, strict=True):
        member = sweep.member(row["index"])
        assert np.array_equal(results(member)["phase"], whole["phase"][: step // 10 + 1])


def test_a_dry_run_says_what_the_sweep_needs(service, sweeps):
    before = service.client.queue()
    facts = service.client.estimate_sweep(**(SMALL | SWEEPS["product"]))
    assert facts["size"] == 12
    assert facts["cell_steps"] == 12 * 64 * 60 == sweeps["product"].progress["cell_steps"]
    fields = sum(
        values.nbytes for name, values in results(sweeps["product"].member(0)).items() if name in ("psi", "phase")
    )
    assert facts["bytes"] == 12 * fields
    assert service.client.queue()["jobs"] == before["jobs"]


def test_members_are_added_while_the_sweep_runs(service):
    sweep = service.client.sweep(**(SLOW | {"gamma": [0.0, 0.05], "seed": range(3)}))
    before = sweep.dataset()
    assert before["psi"].dims == ("gamma", "seed", "step", "y", "x", "channel")
    until(lambda: sweep.refresh().counts["running"] or sweep.done, what="members run")
    first = sweep.add(gamma=linspace(0.1, 0.2, 2), seed=[7])
    assert (first, sweep.size, sweep.done) == (range(6, 8), 8, False)
    with pytest.raises(Exception, match=r"409|Conflict|open it again"):
        before["activity"].load()
    sweep.wait(240)
    assert sweep.add(gamma=[0.3, 0.4], seed=[1, 2], mode="zip") == range(8, 10)  # and again after the end
    sweep.wait(240)
    points = [(gamma, seed) for gamma in (0.0, 0.05) for seed in range(3)]
    points += [(0.1, 7), (0.2, 7), (0.3, 1), (0.4, 2)]
    members = [sweep.member(index) for index in range(10)]
    assert [(member.spec["gamma"], member.spec["seed"]) for member in members] == points
    assert {member.state for member in members} == {"succeeded"}
    found = sweep.dataset().load()
    assert found["psi"].dims == ("member", "step", "y", "x", "channel")
    rows = sweep.table("rows", sort="gamma")
    assert [(row["gamma"], row["seed"]) for row in rows] == sorted(points)
    for index, (member, expected) in enumerate(zip(members, alone(service, members), strict=True)):
        assert_same(results(member), expected)
        one = found.isel(member=index)
        assert (float(one["gamma"]), int(one["seed"])) == points[index]
        assert np.array_equal(one["psi"], expected["psi"])
        assert np.array_equal(one["activity"], expected["activity"])
        assert member.as_dict()["observables"]["activity"] == expected["activity"][-1]


def metric(service, name):
    [value] = re.findall(rf"^{re.escape(name)} (\S+)$", get(service, "/metrics").decode(), re.MULTILINE)
    return float(value)


def test_flower_has_one_task_per_block(service):
    flower = re.findall(r"Flower is at (http://\S+)", service.log.read_text())[-1]

    def tasks(sweep):
        with urllib.request.urlopen(f"{flower}/api/tasks") as answer:
            found = json.load(answer)
        return {name: task for name, task in found.items() if sweep.id in (task["args"] or "")}

    def is_whole(sweep):
        states = {name: task["state"] for name, task in tasks(sweep).items()}
        return states == {row.id: "SUCCESS" for row in service.table.blocks(sweep.id)}

    sweep = service.client.sweep(seed=range(40), **SMALL).wait(240)
    until(lambda: is_whole(sweep), what="Flower sees every block end")
    shown = [task["args"] for task in tasks(sweep).values()]
    assert sum(int(re.search(r"(\d+) members of sweep", text)[1]) for text in shown) == 40
    assert all("tiny fp32 8x8" in text for text in shown)


def test_metrics_count_members(service):
    names = ("leym_jobs_submitted_total", 'leym_jobs_finished_total{state="succeeded"}')
    before = [metric(service, name) for name in names]
    service.client.sweep(seed=range(40), **SMALL).wait(240)
    assert [metric(service, name) - then for name, then in zip(names, before, strict=True)] == [40, 40]


def test_a_killed_worker_loses_no_member_and_changes_no_bit(service):
    sweep = service.client.sweep(**(SLOW | {"steps": [40, 400], "gamma": [0.0, 0.05], "seed": range(6)}))
    until(lambda: sweep.member(0).done and sweep.member(23).step > 40, what="some have ended, and others have begun")
    for pid in service.worker_pids():
        os.kill(pid, signal.SIGKILL)
    ended = {job.id: results(job) for job in sweep.jobs() if job.state == "succeeded"}
    assert sweep.wait(240).counts == {**dict.fromkeys(sweep.counts, 0), "succeeded": 24}
    assert max(row.epoch for row in service.table.blocks(sweep.id)) == 2
    members = [sweep.member(index) for index in range(24)]
    assert ended
    for member in members:
        if member.id in ended:
            assert_same(results(member), ended[member.id])
    members = members[::5]
    for member, expected in zip(members, alone(service, members), strict=True):
        assert_same(results(member), expected)
