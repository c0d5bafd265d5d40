"""Sweeps over HTTP: checked without building their members, estimated, controlled, and read member by member."""

from __future__ import annotations

import re
from typing import Any

import pytest

from leym.contract.member_states import MemberState, MemberStates
from leym.contract.records import JobState, Worker
from leym.contract.sweep_plan import SweepPlan
from leym.contract.sweeps import SweepSpec
from tests.support.api import SPEC, Api, done, refused

BASE: dict[str, Any] = {"law": "aurora", "grid": [8, 8], "steps": 10}
MILLION = {"gamma": {"linspace": [0, 1, 1000]}, "seed": {"count": 1000}}


def sent(api: Api, axes: dict[str, Any], base: dict[str, Any] = BASE, query: str = "", **more: Any) -> Any:
    return api.http.post(f"/v1/sweeps{query}", json={"base": base, "axes": axes, **more})


def accepted(api: Api, axes: dict[str, Any], base: dict[str, Any] = BASE, **more: Any) -> str:
    answer = sent(api, axes, base, **more)
    assert answer.status_code == 202, answer.text
    return str(answer.json["id"])


@pytest.mark.parametrize(
    ("axes", "more", "pointer", "why"),
    [
        ({"seed": {"count": 9}, "gamma": {"linspace": [0, 11, 5]}}, {}, "/axes/gamma", "member 4: gamma = 11.0: .* 10"),
        ({"gamma": [0, 1], "seed": [1, 2.5]}, {}, "/axes/seed", "member 1: seed = 2.5"),
        ({"seed": {"start": 2**63 - 2, "count": 3}}, {}, "/axes/seed", "member 2: seed = 9223372036854775808"),
        ({"seed": [1, 2], "initial.strength": [0.1, -1]}, {}, "/axes/initial.strength", "member 1: initial.str.* = -1"),
        ({"grid": [[8, 8], [8, 3]], "seed": {"count": 7}}, {}, "/axes/grid", r"member 7: grid = \[8, 3\]: .*outside"),
        ({"steps": [10, 20], "observe.every": [5, 15]}, {}, "/axes/observe.every", "member 1: observe.every = 15"),
        ({"seed": {"linspace": [0, 1, 3]}}, {}, "/axes/seed", "member 1: seed = 0.5"),
        ({"law": ["aurora", "nobody"]}, {}, "/axes/law", "member 1: law: there is no law"),
        ({"gamma": {"uniform": [0, 20]}}, {"mode": {"sample": "random", "count": 999}}, "/axes/gamma", "less than or"),
        ({"gamma": [0, 1], "seed": [1, -2]}, {"mode": "zip"}, "/axes/seed", "member 1: seed = -2"),
        ({"initial.kind": ["random"], "initial.strength": [1]}, {}, "/axes/initial.strength", "there is no such key"),
        ({"seed": [1], "steps": {"linspace": [1, 20000, 20000]}}, {}, "/axes", "20000 combinations, .*; at most 10000"),
        ({"seed": [1]}, {"stop": [{"when": "frozen"}]}, "/stop/0/when", "the jobs record nothing"),
        ({"seed": [1]}, {"stop": [{"when": {"observable": "activity", "below": 0}}]}, "/stop/0/when", "not observed"),
        ({"seed": [1]}, {"base": BASE | {"gamma": 11}}, "/base/gamma", "^gamma = 11"),
        ({"initial": [{"kind": "upload", "id": "0" * 64}]}, {}, "/axes/initial", "member 0: initial.id = .*no such u"),
        ({"grid": {"choice": [[8, 8]]}}, {}, "", "axis 'grid' is a distribution"),
    ],
)  # fmt: skip
def test_a_refusal_names_member_axis_value_and_bound(api: Api, axes: Any, more: Any, pointer: str, why: str) -> None:
    problem = refused(sent(api, axes, **more), 422, pointer=pointer)
    assert re.search(why, problem["detail"]), problem["detail"]
    assert api.table.totals()["submitted"] == 0


def test_every_member_of_an_accepted_sweep_is_valid_and_is_in_one_block(api: Api) -> None:
    axes = {
        "grid": [[8, 8], [8, 16]],
        "gamma": {"logspace": [0.01, 1, 3]},
        "precision": ["fp32", "auto"],
        "initial.strength": [0.1, 0.2],
        "observe.every": [5, 10],
    }
    sweep = accepted(api, axes)
    plan = SweepPlan(SweepSpec.model_validate({"base": BASE, "axes": axes}))
    members = api.http.get(f"/v1/sweeps/{sweep}/jobs?limit=200").json["items"]
    assert len(members) == 48
    for i, member in enumerate(members):
        assert member["spec"] == plan.job(i).model_dump(mode="json", exclude={"webhook"})
        assert member["point"] == plan.point(i)
        assert api.http.get(f"/v1/sweeps/{sweep}/members/{i}").json | {"reason": None} == member
    assert sorted(block.members for block in api.table.blocks(sweep)) == 8 * [6]


def test_a_million_members_are_a_few_hundred_rows(api: Api) -> None:
    answer = sent(api, MILLION)
    assert answer.json["size"] == answer.json["counts"]["queued"] == 1_000_000
    assert answer.json["blocks"] == 245
    at = answer.headers["Location"]
    last = api.http.get(f"{at}/members/999999").json
    assert (last["point"], last["state"]) == ({"gamma": 1.0, "seed": 999}, "queued")
    assert api.http.get(f"/v1/jobs/{last['id']}").json == last
    refused(api.http.get(f"{at}/members/1000000"), 404, "the members 0 to 999999")
    refused(api.http.get(f"{at}/members/-1"), 422, pointer="/index")
    assert api.http.post(f"{at}/cancel").json["counts"]["cancelled"] == 1_000_000
    assert api.http.get("/v1/queue").json["jobs"] == 0


def test_a_dry_run_says_how_much_work_a_sweep_is(api: Api) -> None:
    answer = sent(api, MILLION, BASE | {"record": [{"field": "phase", "every": 5}]}, "?dry_run=true")
    assert answer.status_code == 200
    work = 64 * 10 * 10**6
    assert answer.json == {
        "size": 10**6, "shapes": 1, "blocks": 245, "cell_steps": work, "bytes": 3 * 64 * 4 * 10**6, "seconds": None
    }  # fmt: skip
    assert api.table.totals()["submitted"] == 0
    for name in "ab":
        api.table.heartbeat(Worker(name, "host", 1, "cpu", "ready", cell_steps_per_s=1e6))
    assert sent(api, MILLION, query="?dry_run=true").json["seconds"] == work / 2e6
    refused(sent(api, {"gamma": [11]}, query="?dry_run=true"), 422, pointer="/axes/gamma")


def test_members_inherit_from_the_job_that_they_start_from(api: Api) -> None:
    first, second = (done(api, gamma=gamma) for gamma in (0.5, 0.25))
    base = {"law": "aurora", "grid": SPEC["grid"], "steps": 10}
    start = {"kind": "state", "job": first, "step": 30}
    sweep = accepted(api, {"seed": [1, 2]}, base | {"initial": start})
    member = api.http.get(f"/v1/sweeps/{sweep}/members/1").json
    assert (member["spec"]["gamma"], member["spec"]["initial"], member["spec"]["seed"]) == (0.5, start, 2)
    axes = {"initial": [start, start | {"job": second}]}
    problem = refused(sent(api, axes, base), 422, pointer="/base/gamma")
    assert "0.25, 0.5; set base.gamma" in problem["detail"]
    assert api.http.get(f"/v1/sweeps/{accepted(api, axes, base | {'gamma': 0.1})}").json["size"] == 2
    refused(sent(api, {"initial.step": [30, 31]}, base | {"initial": start}), 422, pointer="/axes/initial.step")
    refused(api.http.delete(f"/v1/jobs/{first}"), 409, "live jobs")


def test_a_sweep_is_paused_resumed_hurried_and_run_again(api: Api) -> None:
    sweep = accepted(api, {"seed": {"count": 4}})
    at = f"/v1/sweeps/{sweep}"
    (block,) = api.table.blocks(sweep)
    api.table.claim(block.id, "w", 60, 9)
    paused = api.http.post(f"{at}/pause").json
    assert (paused["state"], paused["counts"]["paused"]) == ("paused", 4)
    assert paused["paused_at"] is not None
    assert api.http.get(f"{at}/members/2?wait=1&state=running").json["state"] == "paused"
    assert api.http.post(f"{at}/resume").json["state"] == "running"
    assert api.http.patch(at, json={"priority": 9}).status_code == 200
    assert api.http.get(f"{at}/members/0").json["priority"] == 9
    refused(api.http.patch(at, json={"priority": 10}), 422, pointer="/priority")
    refused(api.http.delete(at), 409, "has not ended")
    claim = api.table.claim(block.id, "w", 60, 9)
    states = MemberStates.new(4)
    states.step[:] = 10
    states.end([0, 1, 3], MemberState.SUCCEEDED)
    states.end([2], MemberState.FAILED, problem={"title": "Not finite", "status": 500})
    api.table.finish(block.id, claim.epoch, JobState.FAILED, step=0, manifest={}, members=states)
    failed = api.http.get(f"{at}/members/2").json
    assert (failed["state"], failed["error"]["title"]) == ("failed", "Not finite")
    assert failed["links"]["member"] == f"{at}/members/2"
    assert api.http.get(at).json["progress"] == {"cell_steps": 4 * 640, "done": 4 * 640}
    again = api.http.post(f"{at}/retry").json
    assert (again["state"], again["counts"]["queued"], again["counts"]["failed"]) == ("running", 1, 0)
    assert api.http.post(f"{at}/members/2/cancel").json["state"] == "cancelled"
    assert api.http.get(at).json["state"] == "cancelled"
    assert api.http.delete(at).status_code == 204
    assert api.http.delete(at).status_code == 204
    refused(api.http.get(f"{at}/members/0"), 410)
    assert api.http.get(at).json["counts"]["succeeded"] == 3


def test_a_repeated_request_gives_the_first_sweep(api: Api) -> None:
    key = {"Idempotency-Key": "k"}
    body = {"base": BASE, "axes": MILLION}
    first, again = (api.http.post("/v1/sweeps", json=body, headers=key).json["id"] for _ in range(2))
    assert first == again
    assert api.table.totals()["submitted"] == 1_000_000
