"""Fidelity jobs through a running service: judged beside other jobs, kept, shown, and never lost."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import signal
import threading

import pytest

from leym.client import ProblemError
from leym.contract.fidelity_spec import FidelityRequest, spec_of
from leym.contract.problems import Problem
from leym.engine.engine import Engine
from leym.fidelity.background_engine import BackgroundEngine
from leym.fidelity.ensemble import Subject, evolve
from leym.fidelity.gate import judge
from leym.laws.registry import Registry
from leym.laws.verdicts import fidelity_status, from_json, read_verdict, write_verdict
from tests.support.command import leym_here
from tests.support.laws import random_law
from tests.support.service import Service, until

QUICK = {"grid": (8, 8), "members": 4, "steps": 150}


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A service of its own: these tests judge and kill."""
    data = tmp_path_factory.mktemp("judging")
    for seed, name in enumerate(("first", "second", "third", "fourth")):
        random_law(data / "laws" / name, "NCA", d=3, c=8, seed=seed, options={"padding": "periodic"})
    running = Service(data).start()
    yield running
    assert running.stop() == 0, running.tail()


@pytest.mark.usefixtures("threads_of_the_service")
def test_a_judgement_is_a_job_and_its_numbers_are_those_of_the_library(own):
    with pytest.raises(ProblemError) as missing:
        own.client.verdict("first", "int8")
    assert missing.value.status == 404
    job = own.client.judge("first", "int8", tags={"why": "test"}, **QUICK)
    request = FidelityRequest(precision="int8", **QUICK)
    beside = own.client.submit("first", (8, 8), 400, precision="int8")
    assert beside.as_dict()["fidelity"] == "unverified"
    assert beside.as_dict()["verdict"] is None
    job.wait(240)
    beside.wait(240)
    record = job.as_dict()
    assert record["step"] == record["steps"] == spec_of("first", request).total_steps
    assert record["spec"]["kind"] == "fidelity"
    assert record["tags"] == {"why": "test"}
    assert job.list_fields() == []
    assert not list(job.dataset())
    assert [event.step for event in job.stream()] == []

    law = Registry(own.data / "laws").resolve("first")
    engine = Engine(4, compile=False)
    engine.start()
    alone = judge(law, "int8", request.to_plan(), engine=engine)
    engine.stop()
    kept = read_verdict(law, "int8", data=own.data)
    assert record["verdict"] == kept.verdict == alone.verdict
    for ensemble, metrics in from_json(alone.to_json()).samples.items():
        for name, sample in metrics.items():
            assert kept.samples[ensemble][name] == pytest.approx(sample, rel=1e-2, abs=1e-3), name
    assert record["observables"]["activity_effect"] == pytest.approx(kept.metric("activity").effect)

    whole = own.client.verdict("first", "int8")
    assert whole["samples"] == json.loads(kept.to_json())["samples"]
    assert record["links"]["fidelity"] == f"/v1/laws/{law.ref}/fidelity/int8"
    [short] = own.client.fidelity("first")
    assert (short["precision"], short["verdict"]) == ("int8", kept.verdict)
    page = own.client.report("first", "int8")
    assert page.startswith("<!doctype html>")
    assert "lyapunov" in page
    assert "http://" not in page


def test_what_is_known_of_a_precision_goes_with_jobs_and_frames(own):
    law = Registry(own.data / "laws").resolve("second")
    engine = Engine(4, compile=False)
    engine.start()
    verdict = judge(law, "nf4", FidelityRequest(precision="nf4", **QUICK).to_plan(), engine=engine)
    engine.stop()
    for said, expected, auto in (
        ("fail", "failed", "fp32"),
        ("inconclusive", "unverified", "fp32"),
        ("pass", "passed", "nf4"),
    ):
        write_verdict(law, dataclasses.replace(verdict, verdict=said), data=own.data)
        assert fidelity_status(law, "nf4", data=own.data) == expected
        job = own.client.submit("second", (8, 8), 10, {"phase": 5}, precision="nf4").wait(240)
        assert job.as_dict()["fidelity"] == expected
        assert job.dataset().attrs["fidelity"] == expected
        chosen = own.client.submit("second", (8, 8), 10, precision="auto")
        assert chosen.as_dict()["precision"] == auto
        assert chosen.as_dict()["fidelity"] == ("passed" if auto == "nf4" else "exact")
        chosen.wait(240)


def test_the_command_line_judges_and_shows(own, tmp_path):
    def leym(*arguments):
        done = leym_here("--url", own.url, "fidelity", *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    said = leym("submit", "third", "--precision", "int8", "--members", "4", "--steps", "150", "--grid", "8", "--watch")
    verdict = said.split()[-1]
    assert verdict == own.client.verdict("third", "int8")["verdict"]
    assert verdict in leym("show", "third")
    assert re.search(r"lyapunov\tyes\t(pass|fail|inconclusive)\t[+-]", leym("show", "third", "--precision", "int8"))
    leym("show", "third", "--precision", "int8", "--report", str(tmp_path / "report.html"))
    assert (tmp_path / "report.html").read_text() == own.client.report("third", "int8")
    run = ["fidelity", "run", "third", "--precision", "bf16", "--plan", "small", "--members", "4", "--steps", "150"]
    done = leym_here(*run, LEYM_DATA=str(own.data), LEYM_COMPILE="0")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].endswith(own.client.verdict("third", "bf16")["verdict"])


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        ({"precision": "fp32"}, "precision"),
        ({"precision": "nf4", "members": 3}, "members"),
        ({"precision": "nf4", "steps": 105}, "steps = 105"),
        ({"precision": "nf4", "steps": 151}, "steps = 151"),
        ({"precision": "nf4", "grid": [8, 2000]}, "grid"),
        ({"precision": "nf4", "seed": 3}, "seed"),
    ],
)
def test_requests_that_measure_nothing_are_refused(own, request_, says):
    before = own.client.queue()["states"]
    with pytest.raises(ProblemError, match=says) as refused:
        own.client._http.json("POST", "/v1/laws/first/fidelity", having=("id",), json=request_)
    assert refused.value.status == 422
    with pytest.raises(ProblemError) as refused:
        own.client.judge("nowhere", "nf4")
    assert refused.value.status == 404
    assert own.client.queue()["states"] == before


def test_a_cancelled_judgement_frees_its_slots(own):
    job = own.client.judge("fourth", "nf4", grid=(64, 64), members=64, steps=100_000)
    until(lambda: own.simulators()[0]["busy"], what="its universes run")
    assert own.simulators()[0]["busy"] <= 2  # half of the four slots are left to others
    job.cancel()
    until(lambda: own.simulators()[0]["busy"] == 0, what="its universes have left")
    assert job.refresh().state == "cancelled"
    assert own.client.fidelity("fourth") == []
    own.client.submit("fourth", (8, 8), 10).wait(240)


def test_a_judgement_outlives_its_worker(own):
    job = own.client.judge("fourth", "bf16", **QUICK | {"steps": 1100})
    until(lambda: job.refresh().step > 0, what="it has begun")
    [pid] = own.worker_pids()
    os.kill(pid, signal.SIGKILL)
    job.wait(240)
    assert job.as_dict()["epoch"] == 2
    assert job.as_dict()["verdict"] in ("pass", "fail", "inconclusive")
    assert [verdict["precision"] for verdict in own.client.fidelity("fourth")] == ["bf16"]


def test_a_background_engine_never_fills_its_engine_and_leaves_when_asked(tmp_path):
    law = random_law(tmp_path / "law", "NCA", d=2, c=4)
    engine = Engine(4, compile=False)
    engine.start()
    done = []
    background = BackgroundEngine(engine, 2, done.append)
    most, over = [0], threading.Event()

    def watch():
        while not over.wait(0.001):
            most[0] = max(most[0], engine.info()["busy"] + engine.info()["waiting"])

    watcher = threading.Thread(target=watch)
    watcher.start()
    found = evolve(background, Subject(law, "fp32"), (8, 8), range(6), steps=40, every=10)
    over.set()
    watcher.join()
    assert found.psi.shape[:2] == (6, 4)
    assert found.attributes["precision"] == "fp32"
    assert 0 < most[0] <= 2
    assert done == sorted(done)
    assert done[-1] == 6 * 40
    evolve(background, Subject(law, "fp32"), (8, 8), range(3), steps=10, every=100, starts=found.ends[:3])
    assert done[-1] == 6 * 40 + 3 * 10  # the steps before a start do not count

    threading.Timer(0.3, background.leave).start()
    with pytest.raises(Problem, match="released before its end"):
        evolve(background, Subject(law, "fp32"), (8, 8), range(6), steps=10_000_000, every=10_000_000)
    until(lambda: engine.info()["busy"] + engine.info()["waiting"] == 0)
    engine.stop()
