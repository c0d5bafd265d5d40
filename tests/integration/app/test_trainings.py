"""Trainings in the API: what is accepted, what is refused and why, and what a reader sees of one."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from leym.contract.records import SIMULATION, TRAINING, JobState, Worker
from leym.frames.curve import put_curve
from leym.frames.garbage import garbage
from leym.frames.layout import job_prefix
from leym.training.recipe import Recipe
from tests.support.api import bearer, opened, refused

RECIPE: dict[str, Any] = {
    "name": "small",
    "law": {"architecture": "NCA", "d_state": 1, "hidden_channels": 8, "options": {"padding": "periodic"}},
    "objective": {"kind": "teacher", "teacher": "kuramoto"},
    "train": {"updates": 30, "grid": [8, 12], "batch": 2, "pool": 4},
}
GROWTH = {"kind": "growth", "picture": "flower", "size": 8}


def changed(path: str, value: Any) -> dict[str, Any]:
    recipe = copy.deepcopy(RECIPE)
    *sections, key = path.split(".")
    place = recipe
    for section in sections:
        place = place[section]
    place[key] = value
    return recipe


@pytest.fixture
def training(api):
    answer = api.http.post("/v1/trainings", json={"recipe": RECIPE, "tags": {"for": "test"}, "ttl_s": 60})
    assert answer.status_code == 202, answer.text
    return answer


def test_a_training_is_a_job(api, training):
    body = training.json
    assert training.headers["Location"] == f"/v1/jobs/{body['id']}"
    assert (body["state"], body["step"], body["steps"], body["law"]) == ("queued", 0, 30, "small")
    assert body["spec"]["kind"] == "training"
    assert body["spec"]["recipe"] == RECIPE
    assert body["spec"]["grid"] == [8, 12]
    assert body["precision"] == "fp32"
    assert set(body["links"]) == {"self", "events", "history", "cancel", "curve"}
    assert api.http.get(body["links"]["self"]).json == body
    assert [job["id"] for job in api.http.get("/v1/jobs?law=small&tag=for:test").json["items"]] == [body["id"]]
    other = api.http.post("/v1/trainings", json={"recipe": RECIPE, "name": "other"})
    assert other.json["law"] == "other"
    assert api.http.post(f"/v1/jobs/{body['id']}/cancel").json["state"] == "cancelled"


def test_a_repeated_request_is_one_training(api):
    key = {"Idempotency-Key": "k"}
    first, again = (api.http.post("/v1/trainings", json={"recipe": RECIPE}, headers=key) for _ in range(2))
    assert first.json["id"] == again.json["id"]
    refused(api.http.post("/v1/trainings", json={"recipe": RECIPE, "name": "b"}, headers=key), 422, "used before")


@pytest.mark.parametrize(
    ("path", "value", "pointer", "says"),
    [
        ("train.updates", 0, "/recipe/train/updates", "train.updates = 0: Input should be greater than or equal to 1"),
        ("train.horizon", [8, 2], "/recipe/train/horizon", "train.horizon = [8, 2]: two numbers"),
        ("train.pol", 3, "/recipe/train/pol", "there is no such key"),
        ("train.batch", 8, "/recipe/train", "at least batch = 8"),
        (
            "train",
            {"grid": [64, 64], "pool": 100_000},
            "/recipe/train/pool",
            "train.pool = 100000: its states take 3276800000",
        ),
        ("law.d_state", "1", "/recipe/law/d_state", 'law.d_state = "1"'),
        ("law.architecture", "GPT", "/recipe", "unknown architecture 'GPT'"),
        ("objective.kind", "magic", "/recipe/objective", "magic"),
        ("objective.teacher", "isling", "/recipe/objective/teacher", '"isling": expected one of kuramoto'),
        ("objective", GROWTH | {"picture": "/etc/secret.png"}, "/recipe/objective/picture", '"/etc/secret.png"'),
        ("name", "../up", "/recipe/name", "../up"),
    ],
)
def test_a_recipe_that_is_wrong_is_refused_with_key_value_and_bound(api, path, value, pointer, says):
    before = api.table.counts()
    refused(api.http.post("/v1/trainings", json={"recipe": changed(path, value)}), 422, says, pointer=pointer)
    assert api.table.counts() == before


def test_the_recipe_of_a_job_is_that_of_a_file(training):
    assert Recipe.model_validate(training.json["spec"]["recipe"]) == Recipe.model_validate(RECIPE)


def test_a_training_needs_both_scopes(app, table):
    client = app.test_client()
    for scopes, status in ((["submit"], 403), (["laws"], 403), (["submit", "laws"], 202)):
        answer = client.post("/v1/trainings", json={"recipe": RECIPE}, headers=bearer(table, scopes=scopes))
        assert answer.status_code == status, scopes
    assert "'submit' and 'laws'" in client.post("/v1/trainings", headers=bearer(table, scopes=["read"])).json["detail"]


def test_a_training_says_what_it_waits_for_and_is_no_backlog_of_simulations(api, training):
    job = training.json["id"]
    assert "no training worker" in training.json["queue"]["waits_for"]
    queue = api.http.get("/v1/queue").json
    assert queue["trainings"] == {"queued": 1, "running": 0, "workers": 0}
    assert (queue["states"]["queued"], queue["jobs"], queue["cell_steps"], queue["buckets"]) == (1, 0, 0, [])

    def waits(busy: int) -> str | None:
        for kind in (SIMULATION, TRAINING):
            api.table.heartbeat(Worker(kind, "here", 1, "cpu", "ready", slots=1, busy=busy, kind=kind))
        found: str | None = api.http.get(f"/v1/jobs/{job}").json["queue"]["waits_for"]
        return found

    assert waits(1) == "all training workers are busy"
    assert waits(0) is None
    kinds = {worker["name"]: worker["kind"] for worker in api.http.get("/v1/workers").json["items"]}
    assert kinds == {SIMULATION: SIMULATION, TRAINING: TRAINING}
    shown = api.http.get("/metrics").text
    assert 'leym_trainings{state="queued"} 1.0' in shown
    assert "leym_training_workers 1.0" in shown
    assert "leym_workers 1.0" in shown
    assert api.http.get("/readyz").json["checks"]["workers"] == "1"


def test_the_curve_grows_with_the_commits_and_the_stream_has_the_newest_losses(api, training):
    job_id = training.json["id"]
    path = f"/v1/jobs/{job_id}/curve"
    assert api.http.get(path).json == {"update": []}
    claim = api.table.claim(job_id, "trainer", 60, 3)
    first = put_curve(api.store, job_id, claim.epoch, 10, ["update", "loss"], [[10, 0.5]])
    api.table.commit(job_id, claim.epoch, step=10, manifest={"curve": first}, observables_last={"loss": 0.4})
    assert api.http.get(path).json == {"update": [10], "loss": [0.5]}
    second = put_curve(api.store, job_id, claim.epoch, 20, ["update", "loss"], [[10, 0.5], [20, 0.25]])
    api.table.commit(job_id, claim.epoch, step=20, manifest={"curve": second}, observables_last={"loss": 0.2})
    assert api.http.get(path, query_string={"format": "csv"}).text.split() == ["update,loss", "10,0.5", "20,0.25"]
    assert api.http.get(f"/v1/jobs/{job_id}").json["observables"] == {"loss": 0.2}
    ref = "small@" + "0" * 64
    api.table.finish(
        job_id, claim.epoch, JobState.SUCCEEDED, step=30, manifest={"curve": second}, law=ref,
        observables_last={"loss": 0.1},
    )  # fmt: skip
    *_, progress, state, end = api.events(job_id)
    assert (progress.name, progress.id, state.name, end.name) == ("progress", "30", "state", "end")
    assert json.loads(progress.data) == {"step": 30, "steps": 30, "observables": {"loss": 0.1}}
    assert [event.name for event in api.events(job_id, 29)] == ["progress", "state", "end"]
    body = api.http.get(f"/v1/jobs/{job_id}").json
    assert (body["law"], body["links"]["law"]) == (ref, f"/v1/laws/{ref}")
    [job] = api.table.find([job_id])
    objects = list(api.store.scan(job_prefix(job_id)))
    assert [entry.key for entry in garbage(job, objects)] == [first["key"]]


def test_a_simulation_has_no_curve_and_a_training_no_state_to_start_from(api, training):
    simulation = api.submit()
    refused(api.http.get(f"/v1/jobs/{simulation}/curve"), 404, "is no training")
    job = training.json["id"]
    assert api.http.get(f"/v1/jobs/{job}/frames").json["items"] == []
    fork = {"law": "aurora", "grid": [8, 12], "steps": 5, "initial": {"kind": "state", "job": job, "step": 0}}
    assert api.http.post("/v1/jobs", json=fork).status_code == 422


def test_an_accepted_training_outlives_a_full_disk(tmp_path: Path):
    key = {"Idempotency-Key": "k"}
    with opened(tmp_path) as api:
        made = api.http.post("/v1/trainings", json={"recipe": RECIPE}, headers=key).json["id"]
    with opened(tmp_path, disk_free_min=2**62) as full:
        assert full.http.post("/v1/trainings", json={"recipe": RECIPE}, headers=key).json["id"] == made
        refused(full.http.post("/v1/trainings", json={"recipe": RECIPE}), 507)
