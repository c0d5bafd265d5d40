"""A data folder of version 0.1.0: this version answers what that one answered, and ends the work that it left.

`tests/data/version_0_1/make.py` made the folder, with jobs of every kind. When it was packed the power had been cut:
two jobs were in the middle of their runs, their worker was dead, and two more waited.
"""

from __future__ import annotations

import json
import sqlite3
import tarfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from leym.client import Client
from leym.engine.device import pick_device
from leym.settings import read_settings
from tests.support.command import leym_here
from tests.support.old_answers import Asker, digest, missing
from tests.support.paths import DATA
from tests.support.service import SETTINGS, Service, until

OLD = DATA / "version_0_1"
EVERY = 100  # of the recordings of the unfinished jobs
RUNG = 2  # batch size of `tiny` in the folder's rungs.json, the old name of batch-sizes.json; by itself it would be 4
FAST = {"LEYM_LEASE_S": "2", "LEYM_GC_S": "1", "LEYM_STATE_TTL_S": "0"}  # uploads have the age of the archive


@dataclass
class OldFolder:
    """The folder in a service of this version, which has ended its jobs."""

    data: Path
    service: Service
    expected: dict[str, Any]
    checkpoints: dict[str, dict[str, Any]]  # job -> as its row named it before the service started
    start: np.ndarray  # psi at the checkpoint of the interrupted job
    cell_steps: int  # that the service has done to end them

    def asker(self, name: str) -> Asker:
        return Asker(self.service.url, self.expected["tokens"].get(name))

    def client(self, name: str) -> Client:
        return Client(self.service.url, token=self.expected["tokens"][name])

    def job(self, role: str) -> str:
        return str(self.expected["jobs"][role])


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OldFolder]:
    data = tmp_path_factory.mktemp("old") / "data"
    expected = json.loads((OLD / "expected.json").read_text())
    with tarfile.open(OLD / "data.tar.gz") as archive:
        archive.extractall(data, filter="data")
    rungs = json.loads((data / "rungs.json").read_text())
    kind = replace(pick_device(), threads=int(SETTINGS["OMP_NUM_THREADS"])).kind
    rungs[kind] = rungs[expected["computed_by"]]  # as if this machine had been measured then
    (data / "rungs.json").write_text(json.dumps(rungs))
    checkpoints = _checkpoints(data / "jobs.sqlite")
    with np.load(data / "store" / checkpoints[expected["jobs"]["running"]]["key"]) as state:
        start = state["psi"]
    service = Service(data, "--no-flower", **FAST).start()
    found = OldFolder(data, service, expected, checkpoints, start, 0)
    with found.client("default") as client:
        for role in expected["unfinished"]:
            until(lambda role=role: client.job(found.job(role)).done, what=f"the end of the {role} job")
        ended = max(client.job(found.job(role)).as_dict()["finished_at"] for role in expected["unfinished"])
        until(lambda: client.workers()[0]["updated_at"] > ended, what="the heartbeat after that")
        found.cell_steps = client.workers()[0]["cell_steps"]
    yield found
    assert service.stop() == 0, service.tail()


def _checkpoints(table: Path) -> dict[str, dict[str, Any]]:
    with closing(sqlite3.connect(table)) as connection:
        rows = connection.execute("SELECT id, checkpoint FROM leym_jobs WHERE state = 'running'").fetchall()
    return {id: json.loads(checkpoint) for id, checkpoint in rows}


def test_everything_that_the_old_version_answered_is_still_answered(old: OldFolder) -> None:
    """Records, frames, observables, events, Zarr metadata, sweeps and their tables, laws, verdicts, a shared link."""
    lacking = []
    for name, answers in old.expected["answers"].items():
        ask = old.asker(name)
        for path, answer in answers.items():
            lacking += missing(ask.answer(path), answer, f"[{name}] {path} ")
    assert not lacking, "\n".join(lacking)


def test_its_unfinished_jobs_end_as_if_nobody_had_interrupted_them(old: OldFolder) -> None:
    ahead = {job["id"]: job["steps"] for job in old.expected["unfinished"].values()}
    left = sum(steps - old.checkpoints.get(job, {"step": 0})["step"] for job, steps in ahead.items())
    assert old.cell_steps == 8 * 8 * left, "they go on from their checkpoints"

    with old.client("default") as client:
        for role, whole in old.expected["whole"].items():
            job = client.job(old.job(role)).check()
            before, told = old.expected["unfinished"][role], job.as_dict()
            unchanged = ("id", "law", "precision", "fidelity", "spec", "steps", "created_at", "links")
            assert not list(missing(told, {key: before[key] for key in unchanged}, role))
            assert told["epoch"] == before["epoch"] + 1
            assert told["step"] == told["steps"]
            steps, psi = job.array("psi")
            assert steps.tolist() == list(range(0, job.steps + 1, EVERY))
            digests = [digest(frame)[2] for frame in psi]
            kept = old.checkpoints.get(job.id, {"step": -1})["step"] // EVERY + 1
            assert digests[:kept] == whole["frames"][:kept]
            if all(_alike(segment, whole["segments"][0]) for segment in job.list_segments()):  # this kind of machine
                assert digests == whole["frames"]
                assert {name: digest(values) for name, values in job.series().items()} == whole["observables"]

        job = client.job(old.job("running"))
        at = int(old.checkpoints[job.id]["step"])
        assert 0 < at < job.steps, "it was in the middle"
        upload = {"kind": "upload", "id": client.upload_state(old.start)}
        to_frame = client.submit("tiny", (8, 8), EVERY - at % EVERY, initial=upload, precision="fp32").wait(240)
        at += to_frame.steps
        state = {"kind": "state", "job": to_frame.id, "step": to_frame.steps}
        rest = client.submit(None, None, job.steps - at, {"psi": EVERY}, initial=state).wait(240)
        assert np.array_equal(rest.array("psi")[1], job.array("psi", start=at)[1]), "whatever the machine"


def _alike(segment: dict[str, Any], other: dict[str, Any]) -> bool:
    """Return True if two segments of runs were computed in a way that gives the same bits."""
    return not list(missing(segment, {key: value for key, value in other.items() if key != "from_step"}))


def test_new_work_begins_from_what_is_there(old: OldFolder) -> None:
    everything, ask = old.job("everything"), old.asker("default")
    with old.client("default") as client:
        first = client.job(everything)
        at_ten = first.array("psi", start=10, stop=11)[1][0]
        state = {"kind": "state", "job": everything, "step": 10}
        fork = client.submit(None, steps=10, record={"psi": 5}, initial=state).wait(240)
        assert fork.law == first.law
        assert fork.spec["gamma"] == first.spec["gamma"] == 0.02
        assert np.array_equal(fork.array("psi")[1][0], at_ten)
        memory = client.job(old.job("memory"))
        state = {"kind": "state", "job": memory.id, "step": memory.steps}
        client.submit(None, steps=10, initial=state).wait(240)
        upload = {"kind": "upload", "id": old.expected["state"]}
        again = client.submit("tiny", (8, 8), 20, {"psi": 10}, initial=upload, precision="fp32").wait(240)
        assert np.array_equal(again.array("psi")[1][0], client.job(old.job("uploaded")).array("psi")[1][0])

        for law, precision in (("plain", "int8"), ("tiny", "bf16"), ("draws", "fp32")):
            auto = client.submit(law, (8, 8), 2, precision="auto").as_dict()
            assert (auto["precision"], auto["fidelity"]) == (precision, "exact" if precision == "fp32" else "passed")
        old_law = client.job(old.job("old_law")).law
        assert client.submit(old_law, (8, 8), 2).wait(240).law == old_law != client.law("plain")["ref"]
        for name in ("tiny", "remembers", "draws"):
            added = client.add_law(old.data / "laws" / name, name=f"{name}-again")
            assert added["digest"] == client.law(name)["digest"]
        assert "<svg" in client.report("plain", "bf16")

        once = old.expected["idempotent"]
        assert ask.json("/v1/jobs", once["body"], Idempotency_Key=once["key"])["id"] == once["job"]
        assert ask.ask("/v1/jobs", once["body"] | {"seed": 8}, Idempotency_Key=once["key"])[0] == 422


def test_results_of_then_are_read_by_the_client_of_now(old: OldFolder) -> None:
    with old.client("default") as client:
        job = client.job(old.job("everything"))
        assert [segment["batch_size"] for segment in job.list_segments()] == [RUNG]
        frames = job.dataset()
        assert frames["coherence"].shape == (11, 8, 8)
        assert frames["coherence"].attrs["units"] == "1"
        assert frames.attrs["law"] == job.law
        assert json.loads(frames.attrs["spec"]) == job.spec
        assert np.array_equal(frames["psi"].values, job.array("psi")[1])
        assert {"coherence", "coherence_sd", "fidelity"} <= set(job.series())
        assert "coherence" in client.verdict("plain", "bf16")["samples"]["baseline"]
        assert "coherence" in client.fidelity("plain")[0]["metrics"]
        sweep = client.get_sweep(old.expected["sweep"])
        assert sweep.dataset()["coherence"].dims == ("member", "step"), "its axes are zipped"
        assert sweep.dataset()["gamma"].values.tolist() == [0.0, 0.01, 0.05]
        assert np.isfinite(sweep.dataset()["coherence"].isel(step=-1)).all()
        table = sweep.table("rows")
        assert [row["gamma"] for row in table] == [0.0, 0.01, 0.05]
        assert all(np.isfinite(row["coherence"]) and np.isfinite(row["fidelity"]) for row in table)


def test_what_was_measured_still_counts(old: OldFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file has the name that it had, in the folder or in the variable."""
    with old.client("default") as client:
        assert {segment["batch_size"] for segment in client.job(old.job("queued")).list_segments()} == {RUNG}
    monkeypatch.setenv("LEYM_RUNGS", str(old.data / "rungs.json"))
    assert str(old.data / "rungs.json") in read_settings().environment().values()


def test_tokens_open_what_they_opened(old: OldFolder) -> None:
    job, theirs = f"/v1/jobs/{old.job('everything')}", f"/v1/jobs/{old.job('lab')}"
    seen = {name: (old.asker(name).ask(job)[0], old.asker(name).ask(theirs)[0]) for name in old.expected["tokens"]}
    assert seen == {"default": (200, 404), "reader": (200, 404), "lab": (404, 200), "revoked": (401, 401)}
    assert Asker(old.service.url).ask(job)[0] == 401, "a service with tokens is not open"
    body = old.expected["idempotent"]["body"]
    assert old.asker("reader").ask("/v1/jobs", body)[0] == 403
    assert old.asker("lab").ask("/v1/jobs", body)[0] == 422, "the law is not theirs"
    with old.client("lab") as client:
        assert client.submit("theirs", (8, 8), 2).wait(240).state == "succeeded"


def test_the_doctor_finds_it_sound_and_the_collector_nothing_to_remove(old: OldFolder) -> None:
    env = FAST | {"LEYM_DATA": str(old.data)}

    def leym(*arguments: str) -> Any:
        ended = leym_here(*arguments, **env)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return json.loads(ended.stdout)

    assert leym("doctor", "--deep", "--json")["sound"]
    would = leym("gc", "--dry-run", "--json")
    assert not any(would.values()), would
