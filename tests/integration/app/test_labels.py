"""Names, notes, stars and tags: users change them at any time, and they change nothing else."""

from __future__ import annotations

from tests.support.api import SPEC, Api, bearer, done, refused, run_blocks

BASE = {"law": "aurora", "grid": [8, 8], "steps": 30, "observe": {"every": 10, "names": ["coherence"]}}
SWEEP = {"base": BASE, "axes": {"seed": [1, 2, 3]}}


def test_labels_of_a_job_change_at_any_time_and_are_no_part_of_its_spec(api: Api) -> None:
    job = api.submit(tags={"run": "first"}, reuse=True)
    before = api.http.get(f"/v1/jobs/{job}").json
    assert (before["name"], before["note"], before["starred"], before["tags"]) == (None, None, False, {"run": "first"})
    labels = {"name": "Spirals ψ", "note": "near the edge", "starred": True, "tags": {"for": "the talk"}}
    changed = api.http.patch(f"/v1/jobs/{job}", json=labels)
    assert changed.status_code == 200, changed.text
    assert {key: changed.json[key] for key in labels} == labels
    assert api.http.get(f"/v1/jobs/{job}").json == before | labels, "nothing else is different"
    assert api.http.patch(f"/v1/jobs/{job}", json={"note": None}).json["note"] is None
    assert api.http.patch(f"/v1/jobs/{job}", json={}).json["name"] == "Spirals ψ", "what is left out stays"
    same = api.http.post("/v1/jobs", json=SPEC | {"tags": {"run": "first"}, "reuse": True})
    assert (same.status_code, same.json["id"]) == (200, job), "labels do not keep a job from being found again"


def test_a_name_can_be_given_with_the_spec(api: Api) -> None:
    job = done(api, name="First light", reuse=True)
    record = api.http.get(f"/v1/jobs/{job}").json
    assert (record["name"], record["spec"]["name"]) == ("First light", "First light")
    assert api.http.patch(f"/v1/jobs/{job}", json={"name": "Second"}).json["name"] == "Second"
    same = api.http.post("/v1/jobs", json=SPEC | {"name": "Another", "reuse": True})
    assert (same.status_code, same.json["id"]) == (200, job), "a name makes no other universe"
    sweep = api.http.post("/v1/sweeps", json=SWEEP | {"base": BASE | {"name": "a plane"}}).json
    assert sweep["name"] == "a plane"
    refused(api.http.post("/v1/jobs", json=SPEC | {"name": "x" * 201}), 422, "name", pointer="/name")
    refused(api.http.post("/v1/jobs", json=SPEC | {"name": ""}), 422, "name", pointer="/name")


def test_lists_are_searched_by_labels(api: Api) -> None:
    first, second, third = (done(api, seed=seed, tags={"kind": f"k{seed}"}) for seed in range(3))
    api.http.patch(f"/v1/jobs/{first}", json={"name": "100% Waves", "starred": True})
    api.http.patch(f"/v1/jobs/{second}", json={"note": "no waves at all", "tags": {"place": "lab_7"}})

    def found(**query: str) -> list[str]:
        return [job["id"] for job in api.http.get("/v1/jobs", query_string=query).json["items"]]

    assert found(starred="1") == [first]
    assert found(starred="0") == [third, second]
    assert found(q="WAVES") == [second, first]
    assert found(q="waves", starred="true") == [first]
    assert found(q="0% w") == [first], "% is a character like any other"
    assert found(q="lab_7") == [second]
    assert found(q="k1") == [], "changed tags take the place of those of the submission"
    assert found(tag="place:lab_7") == [second]
    assert found(tag="kind:k1") == []
    assert found(q="k2") == [third]


def test_sweeps_have_labels_and_their_members_have_none(api: Api) -> None:
    sweep = api.http.post("/v1/sweeps", json=SWEEP).json["id"]
    other = api.http.post("/v1/sweeps", json=SWEEP).json["id"]
    changed = api.http.patch(f"/v1/sweeps/{sweep}", json={"name": "a plane", "starred": True, "tags": {"a": "b"}})
    assert (changed.json["name"], changed.json["starred"], changed.json["tags"]) == ("a plane", True, {"a": "b"})
    assert api.http.get(f"/v1/sweeps/{sweep}").json["tags"] == {"a": "b"}
    assert [one["id"] for one in api.http.get("/v1/sweeps?starred=1").json["items"]] == [sweep]
    assert [one["id"] for one in api.http.get("/v1/sweeps?q=PLANE").json["items"]] == [sweep]
    assert [one["id"] for one in api.http.get("/v1/sweeps?starred=0").json["items"]] == [other]
    run_blocks(api, sweep)
    member = api.http.get(f"/v1/sweeps/{sweep}/members/0").json["id"]
    refused(api.http.patch(f"/v1/jobs/{member}", json={"name": "me"}), 409, "member of sweep")
    refused(api.http.get(f"/v1/jobs?sweep={sweep}&starred=1"), 422, "members of a sweep have no names")


def test_what_no_label_can_be_is_refused(api: Api) -> None:
    job = done(api)
    for body in ({"name": ""}, {"name": "x" * 201}, {"starred": "yes"}, {"title": "x"}):
        refused(api.http.patch(f"/v1/jobs/{job}", json=body), 422, next(iter(body)))
    refused(api.http.patch("/v1/jobs/nobody", json={"name": "x"}), 404)
    api.http.delete(f"/v1/jobs/{job}")
    refused(api.http.patch(f"/v1/jobs/{job}", json={"name": "x"}), 410)


def test_no_project_labels_the_jobs_of_another(api: Api) -> None:
    job = done(api)
    theirs = bearer(api.table, "theirs")
    assert api.http.patch(f"/v1/jobs/{job}", json={"name": "ours"}, headers=theirs).status_code == 404
    reader = bearer(api.table, "default", ("read",))
    assert api.http.patch(f"/v1/jobs/{job}", json={"name": "ours"}, headers=reader).status_code == 403
