"""Trainings through a running service: made a law, cancelled, killed, and never in the way of simulations."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from leym.client import ProblemError
from leym.client.job import Job
from leym.client.sse import events
from leym.contract.records import TRAINING
from leym.frames.layout import job_prefix
from leym.frames.stores.open import open_store
from leym.laws.registry import Registry
from tests.support.command import leym_here
from tests.support.service import Service, until
from tests.support.tab import tab

RECIPE = """
name = "small"
[law]
architecture = "NCA"
d_state = 1
hidden_channels = 8
options = { padding = "periodic" }
[objective]
kind = "teacher"
teacher = "kuramoto"
age = 3
[train]
updates = UPDATES
grid = [8, 8]
batch = 2
pool = 4
log_every = 5
checkpoint_every = 20
"""

UPDATES = 500  # more than are done before a test that has seen the first of them can end the worker


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A service of its own: these tests train and kill."""
    running = Service(tmp_path_factory.mktemp("training")).start()
    yield running
    assert running.stop() == 0, running.tail()


@pytest.fixture
def recipe(tmp_path):
    def write(updates: int, name: str = "small"):
        file = tmp_path / f"{name}.toml"
        file.write_text(RECIPE.replace("UPDATES", str(updates)).replace("small", name))
        return file

    return write


def trained_here(service, recipe, out) -> str:
    """The digest of the law that `leym train` makes of the recipe, with the threads of the service."""
    command = [sys.executable, "-m", "leym.cli", "train", str(recipe), "--out", str(out), "--add", "--data", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, env=service.env)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()[-1]


def trainer_pid(service) -> int:
    [worker] = [worker for worker in service.table.workers(2.5) if worker.kind == TRAINING]
    return worker.pid


def checkpointed(service, job: Job) -> bool:
    """True if a checkpoint of the job is committed."""
    [row] = service.table.find([job.id])
    return bool(row.checkpoint and row.checkpoint.get("step"))


def test_a_training_makes_the_law_that_the_command_makes(own, recipe, tmp_path):
    file = recipe(60)
    job = own.client.train(file, tags={"why": "test"})
    assert job.law == "small"
    seen = [event for event in events(job._http, f"/v1/jobs/{job.id}/events") if event.name == "progress"]
    assert seen
    job.wait(240)
    record = job.as_dict()
    assert (record["step"], record["steps"], record["tags"]) == (60, 60, {"why": "test"})
    assert job.law == trained_here(own, file, tmp_path / "out")
    assert Registry(own.data / "laws").resolve("small").ref == job.law == own.client.law("small")["ref"]
    assert os.getpriority(os.PRIO_PROCESS, trainer_pid(own)) > 0

    curve = job.curve()
    assert curve["update"].tolist() == list(range(5, 61, 5))
    lines = (tmp_path / "out" / "curve.csv").read_text().split()
    assert [f"{loss:.6g}" for loss in curve["loss"]] == [line.split(",")[1] for line in lines[1:]]
    [row] = own.table.find([job.id])
    [entry] = open_store((own.data / "store").as_uri()).scan(job_prefix(job.id))
    assert (entry.key, entry.size) == (row.manifest["curve"]["key"], row.stored_bytes)
    own.client.submit("small", (8, 8), 10).wait(240)


def test_a_training_that_is_killed_ends_with_the_weights_of_one_that_is_not(own, recipe, tmp_path):
    file = recipe(UPDATES, "killed")
    job = own.client.train(file)
    until(lambda: checkpointed(own, job), what="it has a checkpoint")
    os.kill(trainer_pid(own), signal.SIGKILL)
    at = job.refresh().step
    assert at < UPDATES
    until(lambda: job.refresh().as_dict()["epoch"] == 2, what="another worker has it")
    job.wait(240)
    assert job.law == trained_here(own, file, tmp_path / "out")
    assert job.curve()["update"].tolist() == list(range(5, UPDATES + 1, 5))


def test_a_training_whose_worker_ends_continues_where_it_was(own, recipe, tmp_path):
    file = recipe(UPDATES, "drained")
    job = own.client.train(file)
    until(lambda: job.refresh().step > 0, what="it has begun")
    os.kill(trainer_pid(own), signal.SIGTERM)
    until(lambda: own.table.find([job.id])[0].epoch == 2 or job.refresh().state == "queued", what="it is handed back")
    [row] = own.table.find([job.id])
    assert row.checkpoint["step"] > 0
    job.wait(240)
    assert job.as_dict()["attempts"] == 1
    assert job.law == trained_here(own, file, tmp_path / "out")


def test_a_simulation_does_not_wait_for_a_training(own, recipe):
    job, other = (own.client.train(recipe(1_000_000, name)) for name in ("long", "waiting"))
    until(lambda: job.refresh().step > 0, what="it trains")
    simulation = own.client.submit("aurora", (8, 8), 10).wait(240)
    assert simulation.state == "succeeded"
    assert job.refresh().state == "running"
    assert other.refresh().state == "queued"
    until(lambda: other.refresh().as_dict()["queue"]["waits_for"] == "all training workers are busy")
    other.cancel()
    job.cancel()
    until(lambda: not [w for w in own.client.workers() if w["kind"] == TRAINING and w["busy"]], what="it has stopped")
    assert {job.refresh().state, other.refresh().state} == {"cancelled"}
    with pytest.raises(ProblemError):
        own.client.law("long")


def test_a_recipe_that_cannot_be_trained_fails_and_says_why(own, recipe):
    file = recipe(5, "misfit")
    file.write_text(file.read_text().replace("d_state = 1", "d_state = 2"))
    job = own.client.train(file)
    until(lambda: job.refresh().done)
    assert job.state == "failed"
    assert "law.d_state = 2" in job.error["detail"]


@pytest.mark.browser
def test_the_page_shows_a_training_with_its_losses(own, recipe, tmp_path):
    job = own.client.train(recipe(10, "shown")).wait(240)
    with tab(tmp_path / "browser") as page:
        page.open(f"{own.url}/#{job.id}")
        page.has("succeeded", "10 of 10 updates", "one_step")
        page.wait("document.querySelector('.uplot canvas')")
        assert page.errors == []


def test_the_command_line_trains_and_shows_the_curve(own, recipe):
    def leym(*arguments):
        done = leym_here("--url", own.url, "training", *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    law = leym("submit", str(recipe(10)), "--name", "named", "--watch").split()[-1]
    assert law == own.client.law("named")["ref"]
    [job] = own.client.jobs(law="named")
    assert [line.split("\t")[0] for line in leym("curve", job.id).splitlines()] == ["5", "10"]
