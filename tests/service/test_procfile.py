"""Starts the Procfile with honcho, without and with settings in the environment, and ends it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from leym.client import Client, ServiceUnreachable
from leym.jobs.table import JobTable
from tests.support.paths import ROOT
from tests.support.service import SETTINGS, add_laws, until
from workers.broker import free_port

pytest.importorskip("honcho", reason="honcho is not installed: the extra `dev` has it")


class Formation:
    """A process `honcho start` of the Procfile."""

    def __init__(self, data: Path, **settings: str):
        kept = {k: v for k, v in os.environ.items() if not k.startswith("LEYM_")}
        binaries = os.environ["PATH"]
        if not (ROOT / ".venv").exists():  # where the Procfile searches first
            binaries = f"{Path(sys.executable).parent}:{binaries}"
        port, flower = free_port(), free_port()
        own = {"PATH": binaries, "LEYM_DATA": str(data), "LEYM_HOSTS": "", "LEYM_AUTOSCALE": ""}
        elsewhere = {"GUNICORN_CMD_ARGS": f"--bind=127.0.0.1:{port}", "FLOWER_PORT": str(flower)}
        self.log, self.data = data / "honcho.log", data
        command = [sys.executable, "-m", "honcho", "--env", os.devnull, "start"]
        with self.log.open("wb") as log:
            env = kept | SETTINGS | own | elsewhere | settings
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, env=env)
        self.client = Client(f"http://127.0.0.1:{port}")

    def await_worker(self) -> None:
        until(self._has_worker, what="a worker is ready")

    def _has_worker(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        try:
            return [worker["state"] for worker in self.client.workers()] == ["ready"]
        except ServiceUnreachable:
            return False

    def end(self) -> None:
        """End all processes; honcho ends last, since it reads their output."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.process.wait(240)
        self.client.close()


@pytest.mark.parametrize(("broker", "killed"), [("of its own", False), ("of the environment", True)])
def test_it_comes_up_runs_a_job_and_its_worker_drains_before_it_ends(broker, killed, tmp_path):
    """With `killed`, the watcher of the workers gets SIGKILL, as honcho sends it five seconds after SIGTERM."""
    add_laws(tmp_path)
    url = f"redis://:a%20word@127.0.0.1:{free_port()}/0" if broker == "of the environment" else ""
    formation = Formation(tmp_path, LEYM_REDIS_URL=url)
    try:
        formation.await_worker()
        assert formation.client.submit("tiny", (8, 8), 20).wait(240).state == "succeeded"
        long = formation.client.submit("tiny", (16, 16), 1_000_000)
        until(lambda: long.refresh().step > 50, what="some progress")
        if killed:
            [worker] = formation.client.workers()
            watcher = int(re.search(r"worker\.1 +started \(pid=(\d+)\)", formation.log.read_text())[1])
            os.kill(worker["pid"], signal.SIGTERM)
            os.killpg(watcher, signal.SIGKILL)  # which sends the worker another SIGTERM
    finally:
        formation.end()
    table = JobTable(tmp_path / "jobs.sqlite")
    until(lambda: not table.workers(3600), what="the worker has drained and removed its row")
    job = table.get(long.id)
    assert job.state == "queued"
    assert job.step > 50
    table.close()


def test_no_broker_is_started_where_one_is_configured_elsewhere_and_a_wrong_address_is_refused(tmp_path):
    def serve(url: str) -> subprocess.Popen[str]:
        env = os.environ | {"LEYM_DATA": str(tmp_path), "LEYM_REDIS_URL": url}
        return subprocess.Popen(
            [sys.executable, "-m", "workers.broker", "serve"],
            env=env,
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
        )

    elsewhere = serve("rediss://:word@broker.example:6379/0")
    assert "none is started" in elsewhere.stderr.readline()
    elsewhere.terminate()
    assert elsewhere.wait(240) == 0
    open_one = serve(f"redis://127.0.0.1:{free_port()}/0")
    assert "LEYM_REDIS_URL: nothing answers there" in open_one.communicate(timeout=240)[1]
    assert open_one.returncode == 1
    assert not (tmp_path / "valkey").exists()
