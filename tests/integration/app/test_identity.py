"""Scopes, projects and links: who is let in by the API, and that no project sees another's jobs."""

from __future__ import annotations

import io
import re
import stat

from app.identity import OPEN, SCOPE_OF
from app.links import Scope, sign
from leym.contract.identity import SCOPES
from tests.support.api import ALL, bearer
from tests.support.laws import random_law

JOB = {"law": "aurora", "grid": [8, 8], "steps": 10, "record": [{"field": "phase", "every": 5}]}


# --- routes


def rules(app):
    """(method, path with made-up ids, endpoint) of every route."""
    for rule in app.url_map.iter_rules():
        path = re.sub(r"<(?:path:)?(?:any\([^)]*\):)?(\w+)>", "01m83pv2ev7gzjzxb359ye6n70", rule.rule)
        for method in sorted(rule.methods - {"HEAD", "OPTIONS"}):
            yield method, path, rule.endpoint


def test_every_route_has_a_scope_or_is_open_on_purpose(app):
    there = {endpoint for _, _, endpoint in rules(app)}
    assert {e for e in there if e not in SCOPE_OF and not e.startswith(OPEN)} == set()
    assert set(SCOPE_OF) <= there
    assert {scope for needed in SCOPE_OF.values() for scope in needed.split()} == set(SCOPES)
    assert not [e for e in SCOPE_OF if e.startswith(OPEN)]


def test_a_route_that_stands_in_no_table_is_refused_to_everybody(app, table):
    app.add_url_rule("/v1/stray", "stray", lambda: "open to all")
    client = app.test_client()
    assert client.get("/v1/stray").status_code == 403  # also on an open service
    assert client.get("/v1/stray", headers=bearer(table)).status_code == 403
    assert client.get("/v1/stray").status_code == 401


def test_without_a_token_only_open_routes_answer_and_each_scope_opens_its_own(app, table):
    client = app.test_client()
    assert client.get("/v1/jobs").status_code == 200  # no token was ever made: the service is open
    assert client.get("/v1/session").json == {"project": "default", "scopes": sorted(SCOPES), "token": False}
    shown = {scope: bearer(table, scopes=[scope]) for scope in SCOPES}
    for method, path, endpoint in rules(app):
        scope = SCOPE_OF.get(endpoint)
        if scope is None:
            asks_for_a_token = endpoint in ("session.begin_session", "session.get_session")
            assert client.open(path, method=method).status_code != 401 or asks_for_a_token
            continue
        refused = client.open(path, method=method)
        assert refused.status_code == 401, path
        assert refused.headers["WWW-Authenticate"] == "Bearer", path
        for other, header in shown.items():
            status = client.open(path, method=method, headers=header).status_code
            assert (status == 403) == (other != scope), (method, path, other, status)


def test_a_service_whose_tokens_are_all_revoked_stays_closed(app, table):
    made, _ = table.create_token("ada", ALL)
    table.revoke_token(made.id)
    assert app.test_client().get("/v1/jobs").status_code == 401


def test_the_page_gets_a_cookie_that_scripts_and_other_sites_cannot_use(app, table):
    client = app.test_client()
    _, token = table.create_token("ada", ["read"], "lab")
    assert client.post("/v1/session", json={"token": "leym_wrong"}).status_code == 401
    assert client.get("/v1/jobs").status_code == 401
    begun = client.post("/v1/session", json={"token": token})
    assert begun.json == client.get("/v1/session").json == {"project": "lab", "scopes": ["read"], "token": True}
    cookie = begun.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert client.get("/v1/jobs").status_code == 200
    assert client.delete("/v1/session").status_code == 204
    assert client.get("/v1/jobs").status_code == 401


# --- projects


def test_a_project_sees_nothing_of_another(app, table):
    client = app.test_client()
    ours, theirs = bearer(table, "ours"), bearer(table, "theirs")
    key = {"Idempotency-Key": "k"}
    job = client.post("/v1/jobs", json=JOB, headers=ours | key).json
    sweep = client.post(
        "/v1/sweeps", json={"base": JOB, "axes": {"seed": [1, 2]}}, headers=ours | {"Idempotency-Key": "s"}
    )
    sweep = sweep.json["id"]
    other = client.post("/v1/jobs", json=JOB | {"steps": 20}, headers=theirs | key)
    assert other.status_code == 202
    assert other.json["id"] != job["id"]
    assert client.post("/v1/jobs", json=JOB, headers=ours | key).json["id"] == job["id"]

    looked = 0
    for method, path, endpoint in rules(app):
        at = {"jobs.": job["id"], "results.": job["id"], "events.": job["id"], "sweeps.": sweep, "members.": sweep}
        id = next((id for start, id in at.items() if endpoint.startswith(start)), job["id"])
        id = sweep if "/members/" in path else id
        if "01m83pv2ev7gzjzxb359ye6n70" not in path or endpoint not in SCOPE_OF or "/laws/" in path:
            continue
        path = path.replace("/members/01m83pv2ev7gzjzxb359ye6n70", "/members/0")
        path = path.replace("01m83pv2ev7gzjzxb359ye6n70", id, 1).replace("01m83pv2ev7gzjzxb359ye6n70", "phase")
        path = path.replace("/cells/phase/phase", "/cells/0/0")
        path += "?field=phase" if path.endswith(("/stream", "/atlas")) else ""
        body = {"POST": {"json": {}}, "PATCH": {"json": {"priority": 1}}}.get(method, {})
        if endpoint == "jobs.change_job":
            body = {"json": {"name": "theirs"}}
        if endpoint == "sweeps.add_members":
            body = {"json": {"axes": {"seed": [3]}}}
        if endpoint == "interventions.intervene_in_job":
            body = {"json": {"kind": "gamma", "value": 0.1}}
        if endpoint.startswith("lineage."):
            path = path.replace("/states/phase", "/states/0")
            body = {"json": {"step": 0, "steps": 99}} if method == "POST" else body
        assert client.open(path, method=method, headers=theirs, **body).status_code == 404, (method, path)
        looked += 1
    assert looked >= 12
    assert client.get(f"/v1/jobs/{job['id']}", headers=ours).json["state"] == "queued"

    assert [j["id"] for j in client.get("/v1/jobs", headers=theirs).json["items"]] == [other.json["id"]]
    assert len(client.get("/v1/jobs", headers=ours).json["items"]) == 1
    members = client.get(f"/v1/jobs?sweep={sweep}", headers=ours).json["items"]
    assert len(members) == 2
    assert client.get(f"/v1/jobs/{members[0]['id']}", headers=ours).status_code == 200
    assert client.get(f"/v1/jobs/{members[0]['id']}", headers=theirs).status_code == 404
    assert client.get(f"/v1/jobs?sweep={sweep}", headers=theirs).json["items"] == []
    assert client.get(f"/v1/jobs?sweep={sweep}", headers=theirs).json["items"] == []
    assert client.get("/v1/sweeps", headers=theirs).json["items"] == []
    assert client.get("/v1/queue", headers=theirs).json["states"]["queued"] == 1
    assert client.get("/v1/queue", headers=ours).json["states"]["queued"] == 3
    fork = JOB | {"initial": {"kind": "state", "job": job["id"], "step": 0}}
    assert client.post("/v1/jobs", json=fork, headers=theirs).status_code == 422


def test_the_laws_of_a_project_are_its_own(app, table, tmp_path):
    client = app.test_client()
    ours, theirs = bearer(table, "ours"), bearer(table, "theirs")
    law = random_law(tmp_path / "mine", "MLP")
    files = {
        "manifest": (io.BytesIO((law.path / "manifest.json").read_bytes()), "manifest.json"),
        "weights": (io.BytesIO((law.path / "weights.safetensors").read_bytes()), "weights.safetensors"),
    }
    assert client.put("/v1/laws/mine", data=files, headers=ours).status_code == 201
    assert {law["name"] for law in client.get("/v1/laws", headers=ours).json["items"]} >= {"aurora", "mine"}
    assert {law["name"] for law in client.get("/v1/laws", headers=theirs).json["items"]} & {"aurora", "mine"} == {
        "aurora"
    }
    for path in ("/v1/laws/mine", "/v1/laws/mine/fidelity", "/v1/laws/mine/fidelity/nf4"):
        assert client.get(path, headers=theirs).status_code == 404
    assert client.delete("/v1/laws/mine", headers=theirs).status_code == 404
    assert client.post("/v1/laws/mine/fidelity", json={"precision": "nf4"}, headers=theirs).status_code == 404
    assert client.post("/v1/jobs", json=JOB | {"law": "mine"}, headers=theirs).status_code == 422
    assert client.post("/v1/jobs", json=JOB | {"law": "mine"}, headers=ours).status_code == 202


# --- links


def test_a_link_is_for_one_job_until_it_expires_and_cannot_be_made_up(app, table, monkeypatch):
    client = app.test_client()
    header = bearer(table, "ours")
    job, other = (client.post("/v1/jobs", json=JOB, headers=header).json["id"] for _ in range(2))
    made = client.post(f"/v1/jobs/{job}/links", json={"ttl_s": 60}, headers=header)
    store = made.json["store"]
    assert made.status_code == 201
    assert client.get(f"{store}/zarr.json").json["attributes"]["job"] == job
    link = store.split("/")[3]
    assert client.get(f"/v1/shared/{link[:-2]}xx/store.zarr/zarr.json").status_code == 403
    forged = app.extensions["leym"].settings.model_copy(update={"link_key": "guessed"})
    made_up = sign(forged, Scope("job", other, "ours", 10**12))
    assert client.get(f"/v1/shared/{made_up}/store.zarr/zarr.json").status_code == 403
    assert client.get(f"/v1/jobs/{job}/store.zarr/zarr.json").status_code == 401
    monkeypatch.setattr("app.routes.shared.time.time", lambda: 1e12)
    assert client.get(f"{store}/zarr.json").status_code == 410
    monkeypatch.undo()
    assert client.delete(f"/v1/shared/{link}/store.zarr/zarr.json").status_code == 405
    for ttl_s in (0, 31 * 86400, "soon"):
        assert client.post(f"/v1/jobs/{job}/links", json={"ttl_s": ttl_s}, headers=header).status_code == 422
    key = app.extensions["leym"].settings.data / "link-key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
