"""Measures what many viewers of one job cost the engine, on one machine in one run.

    python -m benchmarks.viewers [--quick] [--json] [--viewers 50] [--fps 10]

One job runs and records a frame every EVERY steps. Spells without and with viewers, each of whom watches the job over a
WebSocket, take turns on the same job. Per spell, from one commit of the job to a later one:

    steps/s        of the job, by the clock; viewers who run on the same cores take time from the engine
    core-ns        CPU time of the worker's process per cell-step, which counts only what viewers make it do
    frames/s       that all viewers together received

The ratios are of medians: `slower` is what the clock says, `costlier` what the worker's CPU time says.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
from dataclasses import asdict, dataclass
from statistics import median
from time import monotonic, sleep
from typing import Any

from benchmarks.common import table
from benchmarks.load_processes import TICKS_PER_S
from leym.client import Client, Job
from leym.common.children import end_with_parent
from leym.demo.service import running_service

GRID = (64, 64)
EVERY = 10
LAW = "aurora"
STEPS = 1_000_000  # more than the job reaches
WARM_S = 3.0  # after the first step, and after viewers come or go
LIMIT_S = 60.0  # against hanging


@dataclass(frozen=True)
class Spell:
    viewers: int
    steps_per_s: float
    core_ns: float
    frames_per_s: float


class Viewers:
    """Viewers in a process of their own. received: frames so far, of all of them."""

    def __init__(self, url: str, job_id: str, n: int, fps: float):
        command = [sys.executable, "-m", "benchmarks.viewers", "--watch", url, job_id]
        command += ["--viewers", str(n), "--fps", str(fps)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, preexec_fn=end_with_parent
        )

    def received(self) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


def watch(url: str, job_id: str, n: int, fps: float) -> None:
    """Watch a job `n` times, and print the number of received frames for each line of stdin."""
    received = [0] * n
    with Client(url) as client:
        job = client.job(job_id)

        def view(i: int) -> None:
            for _ in job.live("phase", start=job.step, fps=fps, dtype="u8"):
                received[i] += 1

        for i in range(n):
            threading.Thread(target=view, args=(i,), daemon=True).start()
        for _ in sys.stdin:
            print(sum(received), flush=True)
        os._exit(0)  # the viewers go on until the job ends


def cpu_s(pid: int) -> float:
    """CPU seconds of all threads of a process."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def next_commit(job: Job) -> tuple[float, int]:
    """Wait until the job's step changes; return the time and the step."""
    before, end = job.refresh().step, monotonic() + LIMIT_S
    while job.refresh().step == before:
        if monotonic() > end or job.done:
            raise RuntimeError(f"the job is {job.state} at step {job.step} and does not step")
        sleep(0.02)
    return monotonic(), job.step


def measure(job: Job, pid: int, seconds: float, viewers: Viewers | None, n: int) -> Spell:
    """Measure the job for so many seconds at least."""
    sleep(WARM_S)
    (began, first), cpu, frames = next_commit(job), cpu_s(pid), viewers.received() if viewers else 0
    sleep(seconds)
    (ended, last), used = next_commit(job), cpu_s(pid)
    received = viewers.received() if viewers else 0
    steps, took = last - first, ended - began
    return Spell(n, steps / took, (used - cpu) / (steps * GRID[0] * GRID[1]) * 1e9, (received - frames) / took)


def spells(n: int, fps: float, seconds: float, rounds: int) -> list[Spell]:
    """Measure spells without and with viewers in turn, beginning and ending without."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # one core for the engine, the others for API and viewers
    found = []
    warm = f"{LAW}/fp32/{GRID[0]}x{GRID[1]}" if os.environ.get("LEYM_COMPILE") != "0" else ""
    with running_service(arguments=["--no-flower"], warm=warm) as client:
        job = client.submit(LAW, GRID, STEPS, {"phase": EVERY}, precision="fp32")
        next_commit(job)
        [worker] = client.workers()
        pid = int(worker["pid"])
        for _ in range(rounds):
            found.append(measure(job, pid, seconds, None, 0))
            viewers = Viewers(client._http.url, job.id, n, fps)
            try:
                found.append(measure(job, pid, seconds, viewers, n))
            finally:
                viewers.close()
        found.append(measure(job, pid, seconds, None, 0))
        job.cancel()
    return found


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--quick", action="store_true", help="few short spells without a compiler; rough ratios")
    options.add_argument("--json", action="store_true")
    options.add_argument("--viewers", type=int, default=50)
    options.add_argument("--fps", type=float, default=10.0)
    options.add_argument("--watch", nargs=2, help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.watch:
        url, job_id = chosen.watch
        watch(url, job_id, chosen.viewers, chosen.fps)
        return
    if chosen.quick:
        os.environ.setdefault("LEYM_COMPILE", "0")
    found = spells(chosen.viewers, chosen.fps, 5.0 if chosen.quick else 15.0, 3 if chosen.quick else 8)
    rows: list[dict[str, Any]] = [asdict(spell) for spell in found]
    alone, watched = ([spell for spell in found if bool(spell.viewers) is kind] for kind in (False, True))

    def ratio(key: str) -> float:
        of_watched, of_alone = ([float(getattr(spell, key)) for spell in some] for some in (watched, alone))
        return median(of_watched) / median(of_alone)

    ratios = {"slower": 1 / ratio("steps_per_s") - 1, "costlier": ratio("core_ns") - 1}
    if chosen.json:
        print(json.dumps({"viewers": rows, **ratios}))
        return
    print(table(rows))
    print(*(f"{name} {share:+.1%}" for name, share in ratios.items()), sep="   ")


if __name__ == "__main__":
    main()
