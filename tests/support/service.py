"""A real service for tests: `leym up` as a user starts it, in a folder of its own, on free loopback ports."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from leym.client import Client
from leym.contract.records import SIMULATION
from leym.jobs.table import JobTable
from leym.settings import Settings
from tests.support.laws import FORMS, oracle, random_law

# Short times, so that faults are over soon. Eager, so that no test waits for a compiler; test_engine shows that
# compiled batches behave alike, and test_service runs one service compiled.
SETTINGS = {
    "LEYM_COMPILE": "0",
    "LEYM_SLOTS": "4",
    "LEYM_LEASE_S": "4",
    "LEYM_CHECKPOINT_S": "0.5",
    "LEYM_COMMIT_S": "0.1",
    "LEYM_HEARTBEAT_S": "0.5",
    "LEYM_DISK_FREE_MIN": "0",
    "LEYM_WEBHOOK_PRIVATE": "1",  # the receivers of the tests are on loopback
    "OMP_NUM_THREADS": "1",
}


class Service:
    """One `leym up`."""

    def __init__(self, data: Path, *arguments: str, verbose: bool = True, **settings: str):
        self.data, self.arguments, self.verbose = data, arguments, verbose
        kept = {k: v for k, v in os.environ.items() if not k.startswith("LEYM_")}
        self.env = kept | SETTINGS | settings
        self.log = data / "up.log"
        self.url = ""
        data.mkdir(parents=True, exist_ok=True)

    def start(self, ready_s: float = 600) -> Service:
        command = [sys.executable, "-m", "leym.cli", "up", "--data", str(self.data), "--port", "0"]
        command += [*(["--verbose"] if self.verbose else []), *self.arguments]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=log, env=self.env, text=True, start_new_session=True
            )
        try:
            line = self._first_line(time.monotonic() + ready_s)
        except BaseException:
            self.process.terminate()
            self.process.wait(240)
            raise
        self.said = line
        self.url = line.split()[1]
        self.client = Client(self.url)
        self.table = JobTable(self.env.get("LEYM_DATABASE_URL") or Settings(data=self.data).database)
        return self

    def _first_line(self, end: float) -> str:
        assert self.process.stdout is not None
        os.set_blocking(self.process.stdout.fileno(), False)
        while not (line := self.process.stdout.readline()):
            assert self.process.poll() is None, self.tail()
            assert time.monotonic() < end, self.tail()
            time.sleep(0.05)
        return line

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(240)
        self.client.close()
        self.table.close()
        return code

    def worker_pids(self) -> list[int]:
        ready = [worker for worker in self.table.workers(2.5) if worker.state == "ready"]
        return [worker.pid for worker in ready if worker.kind == SIMULATION]

    def simulators(self) -> list[dict[str, Any]]:
        """The workers that simulate; another test may have started one that trains."""
        return [worker for worker in self.client.workers() if worker["kind"] == SIMULATION]

    def tail(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-40:])


def until(true: Callable[[], object], timeout_s: float = 240, what: str = "", pause_s: float = 0.05) -> None:
    """Wait for a condition; the time is a limit against hanging, not a promise. pause_s: between two looks."""
    end = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < end, f"still not after {timeout_s} s: {what}"
        time.sleep(pause_s)


def add_laws(folder: Path) -> None:
    """The oracle laws, and `tiny`: a small law whose steps are quick."""
    made = folder / "made"
    for name in FORMS:
        shutil.copytree(oracle(name, made).bundle.path, folder / "laws" / name)
    shutil.copytree(random_law(made / "tiny", "UNET").path, folder / "laws" / "tiny")


LONG = {"law": "tiny", "grid": (32, 32), "record": {"psi": 25}, "observe": 25, "precision": "fp32"}


def frames(job, field="psi"):
    steps, found = job.array(field)
    assert (np.diff(steps) > 0).all()
    return found
