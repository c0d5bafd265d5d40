"""The demo from start to end: start a service, submit, watch, draw, report, stop."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from leym.client import Client, Job
from leym.client.progress import Bars
from leym.contract.spec import Precision
from leym.demo.report import save_pictures, summary
from leym.demo.service import running_service

LAWS = ("spirals", "turbulence", "hurricanes", "choir")
GRID = (64, 64)
PRECISION: Precision = "nf4"
STEPS = (200, 300, 400, 500, 600, 800, 900, 1000, 1200, 1400, 1700, 2000)
EVERY = 10
LIMIT_S = 600.0  # time for all jobs; on two cores without other work they take under a minute
POLL_S = 0.5


def submit(client: Client) -> list[Job]:
    """Submit twelve universes of four laws, of different lengths and seeds, not the long ones first."""
    order = sorted(range(len(STEPS)), key=lambda i: i * 5 % len(STEPS))
    return [
        client.submit(
            LAWS[i % len(LAWS)],
            GRID,
            STEPS[i],
            record={"phase": EVERY, "activity": EVERY},
            observe=EVERY,
            seed=100 + i,
            precision=PRECISION,
            tags={"demo": "yes"},
        )
        for i in order
    ]


def follow(client: Client, jobs: list[Job]) -> list[float]:
    """Show the progress until all jobs have ended.

    Returns:
        Samples of the share of busy slots, taken while there was work.

    Raises:
        TimeoutError: jobs are left after LIMIT_S.
    """
    occupancy: list[float] = []
    end = time.monotonic() + LIMIT_S
    with Bars() as bars:
        while not all(job.done for job in jobs):
            if time.monotonic() > end:
                raise TimeoutError(f"the jobs have not ended after {LIMIT_S:.0f} s")
            time.sleep(POLL_S)
            for job in jobs:
                if not job.done:
                    job.refresh()
                bars.show(job, f"{job.law.partition('@')[0]} seed {job.spec['seed']}")
            workers = client.workers()
            if busy := sum(worker["busy"] for worker in workers):
                occupancy.append(busy / sum(worker["slots"] for worker in workers))
    return occupancy


def demo(folder: Path, as_json: bool) -> None:
    """Run the demo and print its numbers.

    Args:
        folder: folder of the pictures.
        as_json: print the numbers as one JSON document, and everything else on stderr.

    Raises:
        ServiceStartError: the service does not start.
        LeymError: a job fails.
        TimeoutError: the jobs take too long.
    """

    def say(text: str) -> None:
        print(text, file=sys.stderr if as_json else sys.stdout, flush=True)

    began = time.monotonic()
    say("starting the service …")
    with running_service(warm=f"{LAWS[0]}/{PRECISION}/{GRID[0]}x{GRID[1]}") as client:
        say(f"ready at {client.url} after {time.monotonic() - began:.1f} s")
        jobs = submit(client)
        occupancy = follow(client, jobs)
        for job in jobs:
            job.check()
        made = save_pictures(jobs, folder)
        found = summary(jobs, occupancy)
    found["wall_s"] = time.monotonic() - began
    if as_json:
        print(json.dumps(found | {"files": [str(path) for path in made]}))
        return
    print(f"{found['jobs']} jobs, {found['cell_steps']:,} cell-steps in {PRECISION} on {GRID[0]}x{GRID[1]}")
    print(f"{found['cell_steps_per_s']:,.0f} cell-steps/s, mean slot occupancy {found['slot_occupancy']:.0%}")
    print(
        f"latency p50 {found['latency_p50_s']:.1f} s, p95 {found['latency_p95_s']:.1f} s; all {found['wall_s']:.0f} s"
    )
    for path in made:
        print(f"{path} ({path.stat().st_size / 1024:.0f} KiB)")
