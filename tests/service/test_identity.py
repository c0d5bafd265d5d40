"""Tokens and projects of a running service: results stay inside, revoked tokens are refused at once."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request

import numpy as np
import pytest
import xarray

from leym.client import Client, ProblemError
from leym.jobs.table import JobTable
from leym.settings import Settings
from tests.support.command import leym_here
from tests.support.laws import random_law
from tests.support.paths import ROOT
from tests.support.service import Service
from tests.support.tab import tab


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
    done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=ROOT, timeout=240)
    assert done.returncode != 0
    assert "leym tokens create" in done.stderr
    assert "Listening" not in done.stderr


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
    job = ours.submit("mine", (8, 8), 20, {"phase": 5}, observe=5).wait(240)
    assert [frame.step for frame in job.stream()] == [0, 5, 10, 15, 20]
    assert job.dataset()["phase"].shape == (5, 8, 8)  # over HTTP, with the token
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
    assert all(worker["buckets"] == [] for worker in ours.workers())  # what others run is not shown

    link = job.share(ttl_s=600)
    shared = xarray.open_zarr(link["store"], consolidated=True, zarr_format=3, chunks=None)
    assert np.array_equal(shared["phase"].values, job.array("phase")[1])
    with urllib.request.urlopen(f"{link['frames']}/phase?format=png") as picture:
        assert picture.read(8) == b"\x89PNG\r\n\x1a\n"


def test_a_revoked_token_is_refused_at_once(closed):
    service, _, _ = closed

    def leym(*arguments):
        done = leym_here("tokens", *arguments, LEYM_DATA=str(service.data))
        assert done.returncode == 0, done.stderr
        return done.stdout

    made = json.loads(leym("--json", "create", "eve", "--scopes", "read", "--days", "1"))
    with Client(service.url, token=made["token"]) as eve:
        assert list(eve.jobs()) == []
        assert re.search(rf"{made['id']}  default  read  until \S+  eve", leym("list"))
        leym("revoke", made["id"])
        with pytest.raises(ProblemError) as refused:
            list(eve.jobs())
    assert refused.value.status == 401


@pytest.mark.browser
def test_the_page_asks_for_a_token_and_changes_the_project(closed, tmp_path):
    service, clients, tokens = closed
    job = clients["ours"].submit("aurora", (8, 8), 20, {"phase": 5}).wait(240)
    with tab(tmp_path / "browser") as page:
        page.open(f"{service.url}/")
        page.wait("document.querySelector('#sign-in').open")
        page.fill("#token", "leym_wrong")
        page.click("Sign in")
        page.has("The token is unknown, expired or revoked.")
        page.fill("#token", tokens["ours"])
        page.click("Sign in")
        page.has("project ours")
        page.wait(f"document.querySelector('a[data-id=\"{job.id}\"]')")
        page.click("Switch")
        page.fill("#token", tokens["theirs"])
        page.click("Sign in")
        page.has("project theirs", "Nothing runs here yet")
        page.click("Sign out")
        page.wait("document.querySelector('#sign-in').open")
        refused = [error for error in page.errors if "401" not in error]
        assert refused == [], "a browser notes each request that is refused, and nothing else is wrong"
