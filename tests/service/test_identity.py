"""Tokens, scopes and projects: who is let in, and that nobody sees another's things."""

from __future__ import annotations

import io
import json
import os
import re
import stat
import subprocess
import sys
import urllib.error
import urllib.request

import numpy as np
import pytest
import xarray
from sqlalchemy import update

from app import create_app
from app.identity import OPEN, SCOPE_OF, check_address
from app.links import sign
from leym.client import Client, ProblemError
from leym.contract.identity import SCOPES, digest_of, id_of, mint
from leym.contract.problems import Problem
from leym.jobs.schema import tokens
from leym.jobs.table import JobTable
from leym.settings import Settings
from tests.service.test_page import CHROMIUM
from tests.support.laws import random_law
from tests.support.paths import ROOT
from tests.support.service import Service

T0 = 1_000_000.0
ALL = tuple(SCOPES)
JOB = {"law": "aurora", "grid": [8, 8], "steps": 10, "record": [{"field": "phase", "every": 5}]}


@pytest.fixture
def app(tmp_path):
    return create_app(Settings(data=tmp_path / "data"))


@pytest.fixture
def table(app):
    return app.extensions["leym"].table


def bearer(table, project="default", scopes=ALL):
    return {"Authorization": f"Bearer {table.create_token('test', scopes, project)[1]}"}


# --- tokens


def test_a_token_proves_itself_until_it_expires_or_is_revoked(table):
    made, token = table.create_token("ada", ["submit", "read"], "lab", ttl_s=100, now=T0)
    caller = table.caller(token, now=T0 + 99)
    assert (caller.project, caller.scopes, caller.token) == ("lab", {"submit", "read"}, made.id)
    assert caller.may("submit")
    assert not caller.may("admin")
    assert table.caller(token, now=T0 + 100) is None
    _, other = table.create_token("bob", ["read"], now=T0)
    assert table.caller(other, now=T0 + 1e9).project == "default"
    table.revoke_token(id_of(other), now=T0 + 5)
    assert table.caller(other, now=T0 + 6) is None
    table.revoke_token(id_of(other))  # twice does no harm
    with pytest.raises(Problem, match="no token"):
        table.revoke_token("nobody")
    assert [t.name for t in table.list_tokens()] == ["ada", "bob"]


def test_only_a_digest_of_a_token_is_stored(table, tmp_path):
    made, token = table.create_token("ada", ["read"])
    secret = token.rpartition(made.id)[2].lstrip("_")
    table.close()
    kept = b"".join(path.read_bytes() for path in (tmp_path / "data").glob("jobs.sqlite*"))
    assert digest_of(token).encode() in kept
    assert secret.encode() not in kept


def test_what_is_nearly_a_token_is_none(table):
    _, token = table.create_token("ada", ["read"])
    changed = token[:-1] + ("A" if token[-1] != "A" else "B")
    for wrong in (changed, token + "A", token[:-1], "", "leym", mint()[1], token.upper(), f"{token}\n"):
        assert table.caller(wrong) is None
    assert table.caller(token) is not None


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("ada", ["fly"]), "'fly'"),
        (("ada", []), "scopes are required"),
        (("ada", ["read"], "../up"), r"'\.\./up'"),
        (("", ["read"]), "name has 0"),
    ],
)
def test_tokens_that_would_mean_nothing_are_refused(table, arguments, says):
    with pytest.raises(Problem, match=says):
        table.create_token(*arguments)
    assert not table.has_tokens()


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
    assert set(SCOPE_OF.values()) == set(SCOPES)
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
    shown = {scope: bearer(table, scopes=[scope]) for scope in SCOPES}
    for method, path, endpoint in rules(app):
        scope = SCOPE_OF.get(endpoint)
        if scope is None:
            assert client.open(path, method=method).status_code != 401 or endpoint == "session.begin_session"
            continue
        refused = client.open(path, method=method)
        assert refused.status_code == 401 and refused.headers["WWW-Authenticate"] == "Bearer", path
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
    assert begun.json == {"project": "lab", "scopes": ["read"]}
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
        at = {"jobs.": job["id"], "results.": job["id"], "events.": job["id"], "sweeps.": sweep}
        id = next((id for start, id in at.items() if endpoint.startswith(start)), job["id"])
        if "01m83pv2ev7gzjzxb359ye6n70" not in path or endpoint not in SCOPE_OF or "/laws/" in path:
            continue
        path = path.replace("01m83pv2ev7gzjzxb359ye6n70", id, 1).replace("01m83pv2ev7gzjzxb359ye6n70", "phase")
        body = {"json": {}} if method == "POST" else {}
        assert client.open(path, method=method, headers=theirs, **body).status_code == 404, (method, path)
        looked += 1
    assert looked >= 12
    assert client.get(f"/v1/jobs/{job['id']}", headers=ours).json["state"] == "queued"

    assert [j["id"] for j in client.get("/v1/jobs", headers=theirs).json["items"]] == [other.json["id"]]
    assert len(client.get("/v1/jobs", headers=ours).json["items"]) == 3
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
    assert {law["name"] for law in client.get("/v1/laws", headers=ours).json["items"]} == {"aurora", "mine"}
    assert {law["name"] for law in client.get("/v1/laws", headers=theirs).json["items"]} == {"aurora"}
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
    assert client.get(f"/v1/shared/{sign(forged, other, 'ours', 1e12)}/store.zarr/zarr.json").status_code == 403
    assert client.get(f"/v1/jobs/{job}/store.zarr/zarr.json").status_code == 401
    monkeypatch.setattr("app.routes.shared.time.time", lambda: 1e12)
    assert client.get(f"{store}/zarr.json").status_code == 410
    monkeypatch.undo()
    assert client.delete(f"/v1/shared/{link}/store.zarr/zarr.json").status_code == 405
    for ttl_s in (0, 31 * 86400, "soon"):
        assert client.post(f"/v1/jobs/{job}/links", json={"ttl_s": ttl_s}, headers=header).status_code == 422
    key = app.extensions["leym"].settings.data / "link-key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600


# --- addresses


@pytest.mark.parametrize(
    ("addresses", "open_to_others"),
    [
        ([("127.0.0.1", 8000)], False),
        ([("::1", 8000, 0, 0)], False),
        ([("localhost", 80)], False),
        (["/run/leym.sock"], False),
        ([("0.0.0.0", 8000)], True),
        ([("", 8000)], True),
        ([("::", 8000)], True),
        ([("127.0.0.1", 1), ("192.168.1.2", 1)], True),
        ([("somewhere.example", 80)], True),
    ],
)
def test_without_tokens_only_loopback_is_served(addresses, open_to_others):
    assert (check_address(addresses, has_tokens=False) is not None) == open_to_others
    assert check_address(addresses, has_tokens=True) is None


def test_the_api_refuses_to_start_on_another_address_without_a_token(tmp_path):
    command = [
        sys.executable,
        "-m",
        "gunicorn",
        "--config",
        "python:app.gunicorn",
        "--bind",
        "0.0.0.0:0",
        "app.wsgi:app",
    ]
    env = os.environ | {"LEYM_DATA": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=ROOT, timeout=60)
    assert done.returncode != 0
    assert "leym tokens create" in done.stderr
    assert "Listening" not in done.stderr


# --- a running service


@pytest.fixture(scope="module")
def closed(tmp_path_factory):
    """A running service with tokens, and two clients of projects of their own."""
    data = tmp_path_factory.mktemp("closed")
    table = JobTable(Settings(data=data).database)
    tokens = {name: table.create_token(name, ["submit", "read", "laws"], name)[1] for name in ("ours", "theirs")}
    table.close()
    running = Service(data).start()
    yield running, {name: Client(running.url, token=token) for name, token in tokens.items()}, tokens
    assert running.stop() == 0, running.tail()


def test_a_job_of_a_project_runs_with_its_own_law_and_its_results_stay_inside(closed, tmp_path):
    _, clients, tokens = closed
    ours, theirs = clients["ours"], clients["theirs"]
    law = random_law(tmp_path / "mine", "NCA", d=2, c=4)
    ours.add_law(law.path)
    job = ours.submit("mine", (8, 8), 20, {"phase": 5}, observe=5).wait(60)
    assert [frame.step for frame in job.stream()] == [0, 5, 10, 15, 20]
    assert job.frames["phase"].shape == (5, 8, 8)  # over HTTP, with the token
    with pytest.raises(ProblemError) as refused:
        theirs.job(job.id)
    assert refused.value.status == 404
    for headers in ({}, {"Authorization": f"Bearer {tokens['ours'][:-1]}"}):
        with pytest.raises(urllib.error.HTTPError) as nobody:
            urllib.request.urlopen(urllib.request.Request(job.url, headers=headers))
        assert nobody.value.code == 401
    with pytest.raises(ProblemError) as scope:
        job.cancel()
    assert scope.value.status == 403
    assert ours.workers()[0]["buckets"] == []  # what others run is not shown

    link = job.share(ttl_s=600)
    shared = xarray.open_zarr(link["store"], consolidated=True, zarr_format=3, chunks=None)
    assert np.array_equal(shared["phase"].values, job.array("phase")[1])
    with urllib.request.urlopen(f"{link['frames']}/phase?format=png") as picture:
        assert picture.read(8) == b"\x89PNG\r\n\x1a\n"


def test_a_revoked_token_is_refused_at_once(closed):
    service, _, _ = closed
    env = os.environ | {"LEYM_DATA": str(service.data)}

    def leym(*arguments):
        command = [sys.executable, "-m", "leym.cli", "tokens", *arguments]
        return subprocess.run(command, capture_output=True, text=True, env=env, check=True, timeout=60).stdout

    made = json.loads(leym("--json", "create", "eve", "--scopes", "read", "--days", "1"))
    with Client(service.url, token=made["token"]) as eve:
        assert list(eve.jobs()) == []
        assert re.search(rf"{made['id']}  default  read  until \S+  eve", leym("list"))
        leym("revoke", made["id"])
        with pytest.raises(ProblemError) as refused:
            list(eve.jobs())
    assert refused.value.status == 401


def test_work_made_before_the_first_token_is_named_and_can_be_taken_over(tmp_path):
    data = tmp_path / "data"
    app = create_app(Settings(data=data))
    random_law(data / "laws" / "mine", "NCA", d=2, c=4)
    http = app.test_client()
    keyed = {"Idempotency-Key": "first"}
    job = http.post("/v1/jobs", json=JOB | {"law": "mine"}, headers=keyed).json["id"]
    sweep = http.post("/v1/sweeps", json={"base": JOB, "axes": {"seed": [1, 2]}}).json["id"]

    def leym(*arguments):
        command = [sys.executable, "-m", "leym.cli", "tokens", *arguments]
        env = os.environ | {"LEYM_DATA": str(data)}
        return subprocess.run(command, capture_output=True, text=True, env=env, check=True, timeout=60)

    made = leym("create", "ada", "--project", "lab")
    assert "3 jobs and 1 sweeps" in made.stderr
    assert "project default" in made.stderr
    assert "leym tokens take-over lab" in made.stderr
    token = {"Authorization": f"Bearer {made.stdout.strip()}"}
    assert http.get("/v1/jobs", headers=token).json["items"] == []
    assert leym("take-over", "lab").stdout == "moved 3 jobs and 1 sweeps, copied 1 laws\n"
    assert {found["id"] for found in http.get("/v1/jobs", headers=token).json["items"]} >= {job}
    assert http.get(f"/v1/sweeps/{sweep}", headers=token).json["size"] == 2
    assert "mine" in [law["name"] for law in http.get("/v1/laws", headers=token).json["items"]]
    again = http.post("/v1/jobs", json=JOB | {"law": "mine"}, headers=token | keyed)
    assert (again.status_code, again.json["id"]) == (202, job)
    assert leym("create", "bob", "--project", "lab").stderr == ""
    app.extensions["leym"].table.close()


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium: deploy/debian-packages.sh installs it")
def test_the_page_asks_for_a_token(closed, tmp_path):
    service, _, _ = closed
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    command += [f"--user-data-dir={tmp_path}", "--virtual-time-budget=5000", "--dump-dom", service.url]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    assert re.search(r'<dialog id="sign-in"[^>]* open', dom)


@pytest.mark.parametrize("ttl_s", [0, -1, 3650 * 86400 + 1, 9999999 * 86400, float("inf"), float("nan")])
def test_a_token_lasts_ten_years_at_most(table, ttl_s):
    with pytest.raises(Problem, match=r"ttl_s = .*more than 0 and at most 315360000"):
        table.create_token("ada", ["read"], ttl_s=ttl_s)
    assert table.create_token("ada", ["read"], ttl_s=3650 * 86400)[0].expires_at is not None


def leym_tokens(data, *arguments):
    command = [sys.executable, "-m", "leym.cli", "tokens", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, env=os.environ | {"LEYM_DATA": str(data)}
    )


def test_the_command_bounds_days_and_lists_what_older_versions_made(table, tmp_path):
    data = tmp_path / "data"
    for days in ("9999999", "0", "-1", "nan", "inf", "1e3", "1_0"):
        done = leym_tokens(data, "create", "x", f"--days={days}")
        assert done.returncode == 2 and f"'{days}'" in done.stderr and "3650" in done.stderr, done.stderr
    assert not table.has_tokens()
    made, _ = table.create_token("old", ["read"])
    with table.db.write() as connection:
        connection.execute(update(tokens).where(tokens.c.id == made.id).values(expires_at=1e12))
    listed = leym_tokens(data, "list")
    assert listed.returncode == 0
    assert "until 9999-12-31" in listed.stdout


def test_the_name_of_a_token_is_text_without_control_characters(table):
    for name in ("\x1b[2Jada", "a\nb", "a\tb", "\udcff", "\x9bada", "a\u202eb"):
        with pytest.raises(Problem, match="control characters"):
            table.create_token(name, ["read"])
