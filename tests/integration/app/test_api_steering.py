"""Schedules of gamma and interventions over the API: what is taken, listed, inherited and refused."""

from __future__ import annotations

import numpy as np
import pytest

from leym.client.requests import state_file
from tests.support.api import SPEC, Api, done

VORTEX = {"kind": "vortex", "y": 3, "x": 4, "radius": 2}
SCHEDULE = [[0, 0.01], [10, 0.05], [20, 0.0]]


def submit(api: Api, **keys) -> dict:
    answer = api.http.post("/v1/jobs", json=SPEC | keys)
    assert answer.status_code == 202, answer.text
    return answer.json


def ask(api: Api, id: str, change: dict, status: int = 202) -> dict:
    answer = api.http.post(f"/v1/jobs/{id}/interventions", json=change)
    assert answer.status_code == status, answer.text
    return answer.json


def test_a_steered_job_is_shown_as_it_was_sent(api):
    job = submit(api, gamma=SCHEDULE, interventions=[VORTEX | {"step": 7}])
    assert job["spec"]["gamma"] == SCHEDULE
    assert job["spec"]["interventions"] == [VORTEX | {"step": 7, "charge": 1}]
    assert submit(api)["spec"]["interventions"] == []


def test_live_interventions_wait_and_are_listed(api):
    id = submit(api)["id"]
    first, second = ask(api, id, VORTEX), ask(api, id, {"kind": "gamma", "value": 0.1, "step": 9})
    assert (first["number"], first["state"], first["step"]) == (0, "waiting", None)
    assert second["intervention"] == {"kind": "gamma", "value": 0.1, "step": 9}
    assert api.http.get(f"/v1/jobs/{id}/interventions").json == {"items": [first, second], "next": None}
    api.http.post(f"/v1/jobs/{id}/cancel")
    assert [one["state"] for one in api.http.get(f"/v1/jobs/{id}/interventions").json["items"]] == ["missed"] * 2
    assert "cancelled" in ask(api, id, VORTEX, 409)["detail"]


def test_an_idempotency_key_asks_once_also_after_the_end(api):
    id = submit(api)["id"]

    def keyed(key: str, change: dict):
        headers = {"Idempotency-Key": key}
        return api.http.post(f"/v1/jobs/{id}/interventions", json=change, headers=headers)

    first, again, other = keyed("a", VORTEX), keyed("a", VORTEX), keyed("b", VORTEX)
    assert (first.status_code, first.json["number"], other.json["number"]) == (202, 0, 1)
    assert again.json == first.json
    assert "used before, for a request with another body" in keyed("a", VORTEX | {"y": 1}).json["detail"]
    api.http.post(f"/v1/jobs/{id}/cancel")
    assert (keyed("b", VORTEX).json["number"], keyed("b", VORTEX).json["state"]) == (1, "missed")
    assert keyed("c", VORTEX).status_code == 409
    assert len(api.http.get(f"/v1/jobs/{id}/interventions").json["items"]) == 2


def test_the_links_of_a_job_lead_somewhere(api):
    links = api.http.get(f"/v1/jobs/{done(api)}").json["links"]
    assert {"states", "lineage", "history", "interventions", "stream"} <= links.keys()
    for name, path in links.items():
        if name in ("store", "cancel", "stream"):  # a prefix, a POST, a WebSocket
            continue
        assert api.http.get(path).status_code == 200, name
    assert api.http.get(links["stream"] + "?field=phase").status_code == 426


@pytest.mark.parametrize(
    ("change", "pointer", "words"),
    [
        (VORTEX | {"y": 8}, "/y", "y = 8: it must be below 8, the height of the grid"),
        (VORTEX | {"radius": -1}, "/radius", "greater than or equal to 0"),
        (VORTEX | {"step": 30}, "/step", "step = 30: it must be from 0"),
        (VORTEX | {"colour": 1}, "/colour", "there is no such key"),
        ({"kind": "gamma", "value": 11}, "/value", "less than or equal to 10"),
        ({"kind": "paint", "y": 0, "x": 0, "radius": 1, "channel": 4}, "/channel", "the channels 0 to 3"),
        ({"kind": "set", "vector": [[1, 0]]}, "/vector", "the law has 4 channels"),
        ({"kind": "set", "state": "0" * 64}, "/state", "no such uploaded state"),
        ({"kind": "whirl"}, "", "vortex"),
        ({}, "", "kind"),
    ],
)
def test_what_does_not_fit_is_refused_by_key_value_and_bound(api, change, pointer, words):
    [error] = ask(api, submit(api)["id"], change, 422)["errors"]
    assert error["pointer"] == pointer
    assert words in error["detail"]
    if "step" not in change and change.get("kind") in ("set", "paint"):
        answer = api.http.post("/v1/jobs", json=SPEC | {"interventions": [change | {"step": 1}]})
        assert answer.json["errors"][0]["pointer"] == f"/interventions/0{pointer}"


def test_members_judgements_and_what_is_not_there_cannot_be_steered(api):
    sweep = api.http.post("/v1/sweeps", json={"base": SPEC, "axes": {"seed": [1, 2]}}).json["id"]
    member = api.http.get(f"/v1/jobs?sweep={sweep}").json["items"][0]["id"]
    assert f"POST /v1/jobs/{member}/fork makes a job" in ask(api, member, VORTEX, 409)["detail"]
    judgement = api.http.post("/v1/laws/aurora/fidelity", json={"precision": "int8"}).json["id"]
    assert "only universes are steered" in ask(api, judgement, VORTEX, 409)["detail"]
    ask(api, "0" * 26, VORTEX, 404)


def test_an_uploaded_state_must_fit_the_job(api):
    def upload(shape):
        octets = {"Content-Type": "application/octet-stream"}
        return api.http.post("/v1/states", data=state_file(np.ones(shape)), headers=octets).json["id"]

    id, wrong = submit(api)["id"], upload((8, 8, 4))
    assert "this job needs [H, W, d] = [8, 12, 4]" in ask(api, id, {"kind": "set", "state": wrong}, 422)["detail"]
    ask(api, id, {"kind": "set", "state": upload((8, 12, 4))})


def test_a_sweep_has_schedules_on_its_axis_and_interventions_in_its_base(api):
    base = SPEC | {"interventions": [VORTEX | {"step": 7}]}
    axes = {"gamma": [0.5, SCHEDULE], "seed": {"count": 2}}
    sweep = api.http.post("/v1/sweeps", json={"base": base, "axes": axes})
    assert sweep.status_code == 202, sweep.text
    assert sweep.json["blocks"] >= 1
    member = api.http.get(f"/v1/sweeps/{sweep.json['id']}/members/3").json
    assert member["spec"]["gamma"] == SCHEDULE
    assert member["spec"]["interventions"][0]["step"] == 7
    assert api.http.get(f"/v1/sweeps/{sweep.json['id']}/table?format=csv").text.count("[[0,") == 2
    late = api.http.post("/v1/sweeps", json={"base": base, "axes": {"gamma": [0.5, [[0, 1], [30, 2]]]}})
    assert late.json["errors"][0]["pointer"] == "/axes/gamma"
    assert "gamma.1.0 = 30: it must be below steps = 30" in late.json["detail"]


def test_a_fork_inherits_the_rest_of_the_schedule(api):
    initial = {"kind": "state", "job": done(api, gamma=SCHEDULE), "step": 10}
    assert submit(api, initial=initial)["spec"]["gamma"] == [[0, 0.05], [10, 0.0]]
    sweep = api.http.post("/v1/sweeps", json={"base": SPEC | {"initial": initial}, "axes": {"seed": [1, 2]}})
    assert sweep.json["spec"]["base"]["gamma"] == [[0, 0.05], [10, 0.0]]


def test_a_continuation_inherits_what_is_still_to_come(api):
    plan = [VORTEX | {"step": step, "charge": 1} for step in (9, 10, 20)]
    source = done(api, gamma=SCHEDULE, interventions=plan)
    fork = api.http.post(f"/v1/jobs/{source}/fork", json={"step": 10}).json
    assert fork["spec"]["gamma"] == SCHEDULE  # steps count on the lineage's clock
    assert fork["spec"]["interventions"] == plan[1:]
    assert fork["differs"] == {}
    short = api.http.post(f"/v1/jobs/{source}/fork", json={"step": 10, "steps": 15}).json
    assert short["spec"]["gamma"] == SCHEDULE[:2]
    assert short["spec"]["interventions"] == plan[1:2]
    own = api.http.post(f"/v1/jobs/{source}/fork", json={"step": 10, "interventions": plan[2:], "gamma": 0.5}).json
    assert own["differs"] == {"gamma": [SCHEDULE, 0.5], "interventions": [plan[1:], plan[2:]]}
    past = api.http.post(f"/v1/jobs/{source}/fork", json={"step": 10, "interventions": plan})
    assert past.json["errors"] == [
        {"pointer": "/interventions/0/step", "detail": "interventions.0.step = 9: the job goes on from step 10"}
    ]
