"""What the API bears: one `leym up` (SQLite, embedded Valkey) in a temporary folder, and clients on the same machine.

    python -m benchmarks.load [--quick] [--soak MINUTES] [--clients 16] [--only submit queue events]

    submit  single submissions per second by `clients` connections that each send the next as soon as the last was
            answered, into an empty queue. No worker: the cores belong to API, broker, Flower and client.
    queue   latency of a submission by few clients: queue empty, then QUEUED jobs in it, then empty again. No worker.
    events  READERS streams of jobs that run: frame events received and due. With one worker, on the same cores.
    soak    mixed load for so many minutes, and each process's memory over time. With one worker.

`cores`: CPU of each process in cores, of `client` too, which is this one. Figures go to benchmarks/results/load.json.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
from itertools import count, pairwise
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks.load_http import Connection, events
from benchmarks.load_processes import CpuSpell
from benchmarks.load_soak import soak
from leym.demo.service import running_service

LAW = "aurora"
JOB = {"law": LAW, "grid": [32, 32], "steps": 100, "record": [{"field": "phase", "every": 10}], "tags": {"of": "load"}}
READERS, READ_JOBS, READ_STEPS = 200, 8, 4000
QUEUED, QUEUED_QUICK, FEW = 10_000, 2_000, 4
number = count()


async def closed_loop(url: str, clients: int, seconds: float) -> dict[str, Any]:
    """Submit with so many connections for so long: rate, latencies in ms, and answers that were no 202."""
    took: list[float] = []
    wrong: list[int] = []
    end = perf_counter() + seconds

    async def client() -> None:
        connection = Connection(url)
        while (began := perf_counter()) < end:
            status, _ = await connection.send("POST", "/v1/jobs", JOB | {"seed": next(number)})
            took.append(1000 * (perf_counter() - began))
            if status != 202:
                wrong.append(status)
        await connection.close()

    spell, began = CpuSpell(), perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    p50, p99 = np.percentile(took, [50, 99]).tolist()
    return {
        "clients": clients,
        "seconds": round(seconds, 1),
        "per_s": len(took) / (perf_counter() - began),
        "p50_ms": p50,
        "p99_ms": p99,
        "not_202": len(wrong),
        "cores": spell.shares(),
    }


async def submit(url: str, chosen: argparse.Namespace) -> dict[str, Any]:
    await closed_loop(url, chosen.clients, 1)  # threads and connections are made
    found = await closed_loop(url, chosen.clients, 5 if chosen.quick else 30)
    await empty(url)
    return found | {"targets": {"per_s": 300, "p99_ms": 150}}


async def queue(url: str, chosen: argparse.Namespace) -> dict[str, Any]:
    """Empty before and after: a machine whose speed changes meanwhile shows it."""
    seconds = 3 if chosen.quick else 15
    found: dict[str, Any] = {}
    await closed_loop(url, FEW, 1)
    await empty(url)
    found["empty"] = await closed_loop(url, FEW, seconds)
    await empty(url)
    await fill(url, QUEUED_QUICK if chosen.quick else QUEUED)
    found["full"] = await closed_loop(url, FEW, seconds)
    found["queued"] = (await get(url, "/v1/queue"))["states"]["queued"]
    await empty(url)
    found["empty_again"] = await closed_loop(url, FEW, seconds)
    await empty(url)
    for key in ("p50_ms", "p99_ms"):
        found[f"{key}_ratio"] = found["full"][key] / np.mean([found["empty"][key], found["empty_again"][key]])
    return found | {"targets": {"ratio": 1.5}}


async def fill(url: str, jobs: int) -> None:
    """So many queued jobs, whose tickets have all been sent."""
    connection = Connection(url)
    sweep = {"base": JOB, "axes": {"seed": {"start": 0, "count": jobs}}}
    status, body = await connection.send("POST", "/v1/sweeps", sweep)
    assert status == 202, body
    await connection.close()
    quiet = 0
    while quiet < 2:  # the thread that sends the tickets has no other sign
        spell = CpuSpell()
        await asyncio.sleep(1)
        quiet = quiet + 1 if spell.shares().get("valkey", 0) < 0.03 else 0


async def empty(url: str) -> None:
    """Cancel whatever waits."""
    connection = Connection(url)
    while items := (await get(url, "/v1/jobs?state=queued&limit=200"))["items"]:
        for sweep in {item["sweep"] for item in items if item["sweep"]}:
            await connection.send("POST", f"/v1/sweeps/{sweep}/cancel")
        for item in items:
            if not item["sweep"]:
                await connection.send("POST", f"/v1/jobs/{item['id']}/cancel")
    await connection.close()


async def streams(url: str, chosen: argparse.Namespace) -> dict[str, Any]:
    jobs, steps = READ_JOBS, READ_STEPS // 4 if chosen.quick else READ_STEPS
    connection = Connection(url)
    spec = JOB | {"steps": steps, "observe": {"every": 10}}
    ids = []
    for _ in range(jobs):
        _, body = await connection.send("POST", "/v1/jobs", spec | {"seed": next(number)})
        ids.append(json.loads(body)["id"])
    due = set(range(0, steps + 1, 10))
    found = {"received": 0, "missed": 0, "repeated_or_out_of_order": 0, "without_end": 0, "broken": 0}
    running_at_open = 0

    async def reader(job: str) -> None:
        nonlocal running_at_open
        got: list[int] = []
        ended = False
        try:
            async for event, ident in events(url, f"/v1/jobs/{job}/events"):
                if event == "state" and not got and not ended:
                    running_at_open += 1
                if event == "frame" and ident is not None:
                    got.append(ident)
                ended = ended or event == "end"
        except (ConnectionError, asyncio.IncompleteReadError):
            found["broken"] += 1
        found["received"] += len(got)
        found["missed"] += len(due - set(got))
        found["repeated_or_out_of_order"] += sum(b <= a for a, b in pairwise(got))
        found["without_end"] += not ended

    spell, began = CpuSpell(), perf_counter()
    await asyncio.gather(*(reader(ids[i % jobs]) for i in range(READERS)))
    took = perf_counter() - began
    await connection.close()
    return {
        "readers": READERS,
        "jobs": jobs,
        "due": READERS * len(due),
        **found,
        "opened_while_running": running_at_open,
        "seconds": round(took, 1),
        "cores": spell.shares(),
        "targets": {"missed": 0},
    }


async def soaked(url: str, chosen: argparse.Namespace) -> dict[str, Any]:
    return await soak(url, JOB, 60 * chosen.soak)


async def get(url: str, path: str) -> Any:
    connection = Connection(url)
    status, body = await connection.send("GET", path)
    await connection.close()
    assert status == 200, body
    return json.loads(body)


ARMS = {"submit": (submit, 0), "queue": (queue, 0), "events": (streams, 1), "soak": (soaked, 1)}  # and its workers


def rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    return round(value, 2) if isinstance(value, float) else value


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--quick", action="store_true", help="under a minute; the figures are rough")
    options.add_argument("--soak", type=float, default=0, metavar="MINUTES")
    options.add_argument("--clients", type=int, default=16)
    options.add_argument("--only", nargs="*", choices=ARMS, default=("submit", "queue", "events"))
    options.add_argument("--file", type=Path, default=Path("benchmarks/results/load.json"))
    chosen = options.parse_args()
    os.environ.setdefault("LEYM_COMPILE", "0")  # the API is measured: nobody should wait for a compiler
    os.environ.setdefault("LEYM_STREAMS_EACH", str(READERS))  # all readers are one caller
    found: dict[str, Any] = {
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "load_before": os.getloadavg(),
    }
    for name, (arm, workers) in ARMS.items():
        if name in chosen.only or (name == "soak" and chosen.soak):
            with running_service(arguments=["--workers", str(workers)]) as client:
                found[name] = rounded(asyncio.run(arm(client.url, chosen)))
            print(json.dumps({name: found[name]}), flush=True)
    chosen.file.parent.mkdir(parents=True, exist_ok=True)
    chosen.file.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
