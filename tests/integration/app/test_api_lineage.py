"""Extensions, forks, kept states, lineages and reuse over HTTP; the worker only pretends."""

from __future__ import annotations

import csv
import io
import json
import threading

import numpy as np
import pytest

from tests.support.api import SPEC, Api, Pretender, done, number, opened, refused, value

MORE = {
    "gamma": 0.25,
    "precision": "fp32",
    "seed": 7,
    "tags": {"project": "forks"},
    "priority": 6,
    "keep_states": {"every": 10},
    "ttl_s": 1000.0,
}


def post(api: Api, job: str, kind: str, **body):
    return api.http.post(f"/v1/jobs/{job}/{kind}", json=body)


def ended(api: Api, answer):
    """The job that an answer accepted, once it has succeeded."""
    assert answer.status_code == 202, answer.text
    worker = Pretender(api, answer.json["id"])
    worker.at = worker.job.begins_at if worker.job.parent else -1
    worker.run(worker.job.steps)
    worker.finish()
    return answer.json["id"]


def tree(api: Api, job: str):
    answer = api.http.get(f"/v1/jobs/{job}/lineage")
    assert answer.status_code == 200, answer.text
    return answer.json


def test_a_fork_inherits_all_that_is_not_said_and_shows_what_differs(api):
    parent = done(api, **MORE, name="the first")
    answer = post(api, parent, "fork", step=10)
    assert answer.status_code == 202, answer.text
    assert answer.headers["Location"] == f"/v1/jobs/{answer.json['id']}"
    of_parent = api.http.get(f"/v1/jobs/{parent}").json
    kept = {key: of_parent["spec"][key] for key in (*SPEC, *MORE) if key != "law"}
    assert {key: answer.json["spec"][key] for key in kept} == kept
    assert answer.json["spec"]["initial"] == {"kind": "continue", "job": parent, "step": 10}
    same = ("law", "precision", "priority", "tags", "steps")
    assert [answer.json[key] for key in same] == [of_parent[key] for key in same]
    assert (answer.json["parent"], answer.json["from_step"], answer.json["step"]) == (parent, 10, 10)
    assert answer.json["differs"] == {}
    assert (of_parent["name"], answer.json["name"]) == ("the first", None), "a name is of one job"

    other = post(api, parent, "fork", step=20, gamma=0.5, seed=8, steps=45, tags={}).json
    assert other["differs"] == {
        "gamma": [0.25, 0.5], "seed": [7, 8], "steps": [30, 45], "tags": [{"project": "forks"}, {}]
    }  # fmt: skip
    assert api.http.get(f"/v1/jobs/{other['id']}").json["differs"] == other["differs"]


def test_keys_of_the_spec_that_the_api_does_not_know_by_name_are_inherited(api, monkeypatch):
    """Every key but those of one submission: also those that later versions add."""
    from app.continuation import continuation

    parent = api.services.table.get(done(api, **MORE))
    given = {**parent.spec, "deadline_s": 5.0, "reuse": True}
    spec = continuation(type(parent)(**{**{k: getattr(parent, k) for k in parent.__slots__}, "spec": given}), 10, {})
    left_out = {"initial", "deadline_s", "reuse", "law", "precision", "webhook"}
    found = spec.model_dump(mode="json")
    assert {key: found[key] for key in found.keys() - left_out} == {key: given[key] for key in given.keys() - left_out}
    assert (found["deadline_s"], found["reuse"]) == (None, False)


@pytest.mark.parametrize(
    ("kind", "body", "words", "pointer"),
    [
        ("fork", {"step": 7}, "step = 7: job {id} has psi every 10 steps up to 30; only psi (complex64)", "/step"),
        ("fork", {}, "step is required", "/step"),
        ("fork", {"step": 10, "initial": {"kind": "zeros"}}, "the job starts from the state of job {id}", "/initial"),
        ("fork", {"step": 10, "gama": 1}, "gama = 1: there is no such key", "/gama"),
        ("fork", {"step": 10, "gamma": -1}, "gamma = -1", "/gamma"),
        ("fork", {"step": 10, "grid": [8, 8]}, "its state has the shape [8, 12, ", "/initial/job"),
        ("fork", {"step": 10, "steps": 10}, "the lineage's clock, which is at 10 already; at least 11", "/steps"),
        ("fork", {"step": True}, "step = true", "/step"),
        ("extend", {"gamma": 1.0}, "steps is required", "/steps"),
    ],
)
def test_a_refusal_names_the_key_and_the_kept_steps(api, kind, body, words, pointer):
    parent = done(api)
    refused(post(api, parent, kind, **body), 422, words.format(id=parent), pointer=pointer)


def test_what_has_no_last_state_is_not_extended(api):
    live = api.submit()
    refused(post(api, live, "extend", steps=60), 409, f"job {live} is queued at step 0", "wait for the end, or fork")
    worker = Pretender(api, live)
    worker.run(25)
    worker.commit()
    assert post(api, live, "fork", step=20).status_code == 202  # of a job that runs
    worker.finish("failed", {"title": "Diverged", "detail": "x", "status": 422})
    refused(post(api, live, "extend", steps=60), 409, "has no last state; fork it at a kept step", "every 10 steps")
    assert api.http.post("/v1/jobs/01ja0000000000000000000000/extend", json={"steps": 60}).status_code == 404


def test_an_idempotency_key_makes_a_fork_once(api):
    parent, headers = done(api), {"Idempotency-Key": "once"}
    first, again = (
        api.http.post(f"/v1/jobs/{parent}/fork", json={"step": 10, "gamma": 1}, headers=headers) for _ in range(2)
    )
    assert first.json["id"] == again.json["id"]
    refused(api.http.post(f"/v1/jobs/{parent}/fork", json={"step": 20}, headers=headers), 422, "Idempotency-Key")


def test_states_are_listed_and_downloaded(api):
    parent = done(api)
    answer = api.http.get(f"/v1/jobs/{parent}/states").json
    size = 8 * 12 * api.table.get(parent).d_state * 8
    assert answer == {
        "items": [{"step": step, "kind": "recorded", "bytes": size} for step in (0, 10, 20, 30)],
        "next": None,
    }
    page = api.http.get(f"/v1/jobs/{parent}/states?start=10&limit=1").json
    assert ([row["step"] for row in page["items"]], page["next"]) == ([10], 20)
    file = api.http.get(f"/v1/jobs/{parent}/states/20")
    psi = np.load(io.BytesIO(file.data))
    assert np.array_equal(psi, value("psi", 20, psi.shape, "complex64"))
    assert api.http.post("/v1/states", data=file.data).status_code == 201
    refused(api.http.get(f"/v1/jobs/{parent}/states/21"), 404, "keeps no state at step 21", "every 10 steps up to 30")


def test_a_lineage_is_one_tree_and_one_timeline(api):
    root = done(api)
    left = ended(api, post(api, root, "fork", step=20, steps=50))
    right = ended(
        api,
        post(api, root, "fork", step=10, gamma=0.5, observe={"every": 5, "names": ["coherence", "channel_entropy"]}),
    )
    end = ended(api, post(api, left, "fork", step=40, steps=70))
    found = tree(api, end)
    assert (found["id"], found["root"], found["truncated"]) == (end, root, False)
    shown = {
        node["id"]: (node["relation"], node["from_step"], node["to_step"], node["parent"]) for node in found["items"]
    }
    assert shown == {
        root: ("ancestor", 0, 30, None),
        left: ("ancestor", 20, 50, root),
        right: ("other", 10, 30, root),
        end: ("self", 40, 70, left),
    }
    assert {n["id"]: n["relation"] for n in tree(api, root)["items"]}[end] == "descendant"

    answer = api.http.get(f"/v1/jobs/{end}/observables?lineage=1")
    assert answer.json["step"] == list(range(0, 71, 2))
    assert answer.json["coherence"] == [number("coherence", step) for step in range(0, 71, 2)]
    assert "X-Lineage-Gone" not in answer.headers
    alone = api.http.get(f"/v1/jobs/{end}/observables").json
    assert alone["step"] == list(range(42, 71, 2))
    rows = list(csv.DictReader(io.StringIO(api.http.get(f"/v1/jobs/{end}/observables?lineage=1&format=csv").text)))
    assert [int(row["step"]) for row in rows] == list(range(0, 71, 2))
    part = api.http.get(f"/v1/jobs/{end}/observables?lineage=1&start=15&stop=45&stride=5&names=activity").json
    assert part == {"step": [16, 26, 36], "activity": [number("activity", step) for step in (16, 26, 36)]}

    mixed = api.http.get(f"/v1/jobs/{right}/observables?lineage=1").json
    assert mixed["step"] == [0, 2, 4, 6, 8, 10, 15, 20, 25, 30]
    assert mixed["channel_entropy"][:6] == [None] * 6
    assert mixed["channel_entropy"][6:] == [number("channel_entropy", step) for step in (15, 20, 25, 30)]


def test_frames_of_a_lineage_are_one_timeline(api):
    root = done(api)
    half = {"field": "phase", "every": 4, "dtype": "float16"}
    left = ended(api, post(api, root, "fork", step=20, steps=50, record=[half, {"field": "psi", "every": 40}]))
    power = {"field": "channel_power", "every": 25}
    end = ended(api, post(api, left, "fork", step=40, steps=70, record=[half, power]))
    steps = [*range(0, 21, 3), *range(24, 71, 4)]

    def read(name, query=""):
        answer = api.http.get(f"/v1/jobs/{end}/frames/{name}?lineage=1{query}")
        assert answer.status_code == 200, answer.text
        with np.load(io.BytesIO(answer.data)) as file:
            return file["step"].tolist(), file[name], json.loads(str(file["attributes"]))["lineage"], answer

    found, frames, jobs, answer = read("phase")
    assert (found, jobs, answer.headers["X-Frames"]) == (steps, [root, left, end], str(len(steps)))
    assert frames.dtype == np.float16
    for step, frame in zip(steps, frames, strict=True):
        assert np.array_equal(frame, value("phase", step, (8, 12), "float32").astype(np.float16)), step
    assert read("channel_power")[0] == [0, 5, 10, 15, 20, 50]  # the job in the middle did not record it
    for query, chosen in (
        ("&stride=5", steps[::5]),
        ("&start=10&stop=45&stride=4", [step for step in steps if 10 <= step < 45][::4]),
        ("&last=3", steps[-3:]),
        ("&start=22", [step for step in steps if step >= 22]),
    ):
        found, frames, _, _ = read("phase", query)
        assert found == chosen, query
        expected = [value("phase", step, (8, 12), "float32").astype(np.float16) for step in chosen]
        assert np.array_equal(frames, np.stack(expected)), query
    film = api.http.get(f"/v1/jobs/{end}/frames/phase?lineage=1&format=png&stride=4")
    assert (film.status_code, film.headers["X-Frames"]) == (200, str(len(steps[::4])))
    with np.load(io.BytesIO(api.http.get(f"/v1/jobs/{end}/frames/phase").data)) as file:
        assert file["step"].tolist() == list(range(44, 71, 4))
    refused(api.http.get(f"/v1/jobs/{end}/frames/activity?lineage=1"), 404, "this job records: phase, channel_power")
    api.http.delete(f"/v1/jobs/{root}")
    found, _, jobs, answer = read("phase")
    assert (found[0], jobs, answer.headers["X-Lineage-Gone"]) == (24, [left, end], root)
    link = api.http.post(f"/v1/jobs/{end}/links", json={"ttl_s": 60}).json["frames"]
    assert api.http.get(f"{link}/phase").status_code == 200
    refused(api.http.get(f"{link}/phase?lineage=1"), 422, "a link opens its own job only", pointer="/lineage")


def test_a_cell_of_a_lineage_is_one_timeline(api):
    root = done(api)
    half = {"field": "phase", "every": 4, "dtype": "float16"}
    end = ended(api, post(api, root, "fork", step=20, steps=50, record=[half]))
    at, steps = f"/v1/jobs/{end}/cells/7/11?field=phase", [*range(0, 21, 3), *range(24, 51, 4)]
    expected = [float(value("phase", step, (8, 12), "float32").astype(np.float16)[7, 11]) for step in steps]
    answer = api.http.get(f"{at}&lineage=1")
    assert answer.json == {"step": steps, "phase": expected}
    assert "X-Lineage-Gone" not in answer.headers
    assert api.http.get(at).json == {"step": steps[7:], "phase": expected[7:]}
    for query, chosen in (("&stride=5", slice(None, None, 5)), ("&last=9", slice(-9, None)), ("&stop=21", slice(7))):
        found = api.http.get(f"{at}&lineage=1{query}").json
        assert found == {"step": steps[chosen], "phase": expected[chosen]}, query
    with np.load(io.BytesIO(api.http.get(f"{at}&lineage=1&format=npz").data)) as file:
        assert file["step"].tolist() == steps
        assert json.loads(str(file["attributes"]))["lineage"] == [root, end]
    api.http.delete(f"/v1/jobs/{root}")
    answer = api.http.get(f"{at}&lineage=1")
    assert (answer.json["step"], answer.headers["X-Lineage-Gone"]) == (steps[7:], root)


def test_frames_and_events_of_a_continuation_have_the_steps_of_the_lineage(api):
    root = done(api)
    fork = ended(api, post(api, root, "fork", step=20, steps=41))
    with np.load(io.BytesIO(api.http.get(f"/v1/jobs/{fork}/frames/phase").data)) as file:
        assert file["step"].tolist() == [21, 24, 27, 30, 33, 36, 39]
        assert np.array_equal(file["phase"][2], value("phase", 27, (8, 12), "float32"))
    psi = next(field for field in api.http.get(f"/v1/jobs/{fork}/frames").json["items"] if field["name"] == "psi")
    assert (psi["committed"], psi["steps"]) == (2, {"start": 30, "stop": 50, "stride": 10})
    steps = [int(event.id) for event in api.events(fork) if event.name == "frame"]
    expected = sorted({s for every in (3, 5, 10, 2) for s in range(0, 42, every) if s > 20})
    assert steps == expected
    assert [int(event.id) for event in api.events(fork, last=30) if event.name == "frame"] == [
        s for s in expected if s > 30
    ]
    # a part that is shorter than a schedule has no frames of it, which is no fault
    short = ended(api, post(api, root, "fork", step=20, steps=22, record=[{"field": "psi", "every": 25}]))
    assert api.http.get(f"/v1/jobs/{short}/frames").json["items"][0]["committed"] == 0
    assert api.http.get(f"/v1/jobs/{short}/store.zarr/zarr.json").status_code == 200


def test_a_deleted_parent_stays_readable_as_a_record(api):
    root = done(api, **MORE)
    fork = ended(api, post(api, root, "fork", step=20, steps=50))
    assert api.http.delete(f"/v1/jobs/{root}").status_code == 204
    record = tree(api, fork)["items"][0]
    assert (record["id"], record["deleted"], record["readable"], record["state"]) == (root, True, False, "succeeded")
    assert record["spec"]["gamma"] == 0.25
    assert record["law"].startswith("aurora@")
    assert tree(api, root)["items"][0]["relation"] == "self"
    answer = api.http.get(f"/v1/jobs/{fork}/observables?lineage=1")
    assert answer.headers["X-Lineage-Gone"] == root
    assert answer.json["step"] == list(range(22, 51, 2))
    refused(post(api, root, "fork", step=20), 410)


def test_a_live_continuation_keeps_its_parent(api):
    root = done(api)
    fork = post(api, root, "fork", step=20, steps=50).json["id"]
    refused(api.http.delete(f"/v1/jobs/{root}"), 409, f"is the start of 1 live jobs ({fork})")
    api.http.post(f"/v1/jobs/{fork}/cancel", json={})
    assert api.http.delete(f"/v1/jobs/{root}").status_code == 204


def test_an_identical_job_is_returned_or_joined(api):
    wanted = SPEC | {"reuse": True}
    first = api.http.post("/v1/jobs", json=wanted)
    assert (first.status_code, first.json["reuse"]) == (202, None)
    job = first.json["id"]
    joined = api.http.post(
        "/v1/jobs", json=wanted | {"priority": 9, "tags": {"a": "b"}}, headers={"Idempotency-Key": "k"}
    )
    assert (joined.status_code, joined.json["id"], joined.json["reuse"]) == (200, job, "joined")
    worker = Pretender(api, job)
    worker.run(30)
    worker.finish()
    returned = api.http.post("/v1/jobs", json=wanted | {"precision": first.json["precision"]})
    assert (returned.status_code, returned.json["id"], returned.json["reuse"]) == (200, job, "returned")
    again = api.http.post(
        "/v1/jobs", json=wanted | {"priority": 9, "tags": {"a": "b"}}, headers={"Idempotency-Key": "k"}
    )
    assert again.json["id"] == job
    for change in ({"seed": 1}, {"gamma": 0.5}, {"record": []}, {"steps": 29}, {"initial": {"kind": "random"}}):
        other = api.http.post("/v1/jobs", json=wanted | change)
        assert (other.status_code, other.json["reuse"]) == (202, None), change
    plain = api.http.post("/v1/jobs", json=SPEC).json["id"]
    assert plain != job  # it was not asked for
    api.http.delete(f"/v1/jobs/{job}")
    assert api.http.post("/v1/jobs", json=wanted).json["id"] == plain
    refused(api.http.post("/v1/jobs", json=SPEC | {"reuse": 1}), 422, "reuse = 1", pointer="/reuse")


def test_many_identical_requests_at_once_make_one_job(tmp_path):
    with opened(tmp_path) as api:
        answers = []

        def ask() -> None:
            answers.append(api.app.test_client().post("/v1/jobs", json=SPEC | {"reuse": True}))

        threads = [threading.Thread(target=ask) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len({answer.json["id"] for answer in answers}) == 1
        assert sorted(answer.status_code for answer in answers) == [200] * 5 + [202]
