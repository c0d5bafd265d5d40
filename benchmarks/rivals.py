"""The service against LitServe and JAX with the same law, in one run on one machine.

    python -m benchmarks.rivals [--quick] [--json] [--law nca] [--slots 16] [--jobs 128] [--mean 200]

Jobs of exponentially distributed lengths arrive as a Poisson process, faster than any arm can serve them (OFFERED times
what the engine alone does), so cell-steps/s is what an arm can do and latencies grow with its queue.

    leym                  POST /v1/jobs, the job's event stream until its end; job table, leases, checkpoints and the
                          last state in the frame store included
    leym, one sweep       as many members of the mean length and the same recording, in one request
    litserve batched      LitServe's own batching
    litserve continuous   its loop for continuous batching

LitServe's arms step by torch.compile, one batch of all slots, as its users would; the last of them has our kernel and
our batches, so that only the serving differs. Where the kernel is ours the digests of all last states must be equal.

For NCA also the steps alone: our kernel, torch, JAX and CAX.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
from functools import partial
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks.common import LAWS, Machine, cost_per_cell_step, eager_loop, exponential_lengths, make_law, rate, table
from benchmarks.jax_arm import in_its_own_process
from benchmarks.litserve_arm import Arrivals, litserve_arm, summary
from benchmarks.load_http import Connection, events
from benchmarks.sweeps import wait
from leym.client import Client
from leym.demo.service import running_service
from leym.engine.batch_size import filling_size
from leym.engine.benchmark import cell_steps_per_s
from leym.engine.device import pick_device
from leym.engine.engine import Engine
from leym.laws.bundle import Bundle

GRID = (64, 64)
OFFERED = 1.5
JAX_GRID, JAX_BATCH = (128, 128), 4


def poisson(lengths: list[int], jobs_per_s: float, seed: int = 1) -> Arrivals:
    at = np.cumsum(np.random.default_rng(seed).exponential(1 / jobs_per_s, len(lengths)))
    return [(float(moment - at[0]), steps) for moment, steps in zip(at, lengths, strict=True)]


def leym_arm(law: Bundle, precision: str, slots: int, arrivals: Arrivals) -> dict[str, Any]:
    os.environ["LEYM_SLOTS"] = str(slots)
    with running_service([law.path], f"{law.name}/{precision}/{GRID[0]}x{GRID[1]}") as client:
        asyncio.run(_ask_all(client, law, precision, [(0.0, 2)] * slots))
        return asyncio.run(_ask_all(client, law, precision, arrivals))


def sweep_arm(law: Bundle, precision: str, slots: int, members: int, steps: int) -> dict[str, Any]:
    """The cell-steps/s of one sweep, from its request to its end, after a short one that compiles what is needed."""
    os.environ["LEYM_SLOTS"] = str(slots)
    with running_service([law.path], f"{law.name}/{precision}/{GRID[0]}x{GRID[1]}") as client:
        for wanted in (2, steps):
            spec: dict[str, Any] = {
                "grid": GRID,
                "steps": wanted,
                "gamma": 0.01,
                "precision": precision,
                "record": {"psi": wanted},
            }
            began = perf_counter()
            sweep = client.sweep(law.name, seed=range(members), **spec)
            wait(sweep)
            seconds = perf_counter() - began
        if sweep.counts["succeeded"] != members:
            raise RuntimeError(f"of {members} members, {sweep.counts['succeeded']} succeeded")
        return {"cell_steps_per_s": members * steps * GRID[0] * GRID[1] / seconds}


async def _ask_all(client: Client, law: Bundle, precision: str, arrivals: Arrivals) -> dict[str, Any]:
    began = perf_counter()

    async def ask(seed: int, at: float, steps: int) -> tuple[str, float, float]:
        await asyncio.sleep(max(0.0, began + at - perf_counter()))
        connection = Connection(client.url)
        spec = {"law": law.name, "grid": GRID, "steps": steps, "seed": seed, "gamma": 0.01, "precision": precision}
        _, body = await connection.send("POST", "/v1/jobs", spec | {"record": [{"field": "psi", "every": steps}]})
        await connection.close()
        job = str(json.loads(body)["id"])
        async for event, _ in events(client.url, f"/v1/jobs/{job}/events"):
            if event == "end":
                break
        now = perf_counter() - began
        return job, now - at, now

    answers = await asyncio.gather(*(ask(i, at, steps) for i, (at, steps) in enumerate(arrivals)))
    found = summary(arrivals, GRID, *zip(*answers, strict=True))
    jobs = [client.job(id).check() for id in found["digests"]]
    last = (np.ascontiguousarray(job.array("psi")[1][-1], np.complex64) for job in jobs)
    return found | {"digests": [sha256(psi.tobytes()).hexdigest() for psi in last]}


def serving(law: Bundle, precision: str, slots: int, jobs: int, mean: int) -> list[dict[str, Any]]:
    engine = Engine(slots)
    engine.start()
    alone = cell_steps_per_s(engine, law, precision, GRID, 3.0)
    engine.stop()
    lengths = exponential_lengths(jobs, mean, 1)
    arrivals = poisson(lengths, OFFERED * alone / (mean * GRID[0] * GRID[1]))
    arms = {"leym": leym_arm(law, precision, slots, arrivals)}
    universes = arms["leym"]["digests"]
    arms["leym, one sweep"] = sweep_arm(law, precision, slots, jobs, mean)
    for kind, kernel in (("batched", "inductor"), ("continuous", "inductor"), ("continuous", "ours")):
        name = f"litserve {kind}, {'torch.compile' if kernel == 'inductor' else 'our kernel'}"
        arms[name] = litserve_arm(kind, law, precision, GRID, slots, arrivals, kernel)
    rows: list[dict[str, Any]] = [{"arm": "engine alone, equal lengths", "cell_steps_per_s": alone}]
    for name, found in arms.items():
        same = {"same_universes": found.pop("digests") == universes} if "digests" in found else {}
        rows.append({"arm": name, "of_engine": found.get("cell_steps_per_s", 0.0) / alone} | found | same)
    return rows


def stepping(law: Bundle, seconds: float) -> list[dict[str, Any]]:
    """NCA at 128x128x4, where its JAX forms can be compared."""
    engine = Engine(JAX_BATCH)
    engine.start()
    ours = cell_steps_per_s(engine, law, "nf4", JAX_GRID, seconds)
    eager_rate = engine.on_device_thread(partial(rate, eager_loop(law, JAX_GRID), seconds=seconds))
    eager = JAX_GRID[0] * JAX_GRID[1] * eager_rate
    engine.stop()
    found: dict[str, Any] = {"leym engine, nf4": ours, "eager torch, fp32, batch 1": eager}
    found |= in_its_own_process(law, JAX_GRID, JAX_BATCH, seconds)
    return [
        {"arm": name, "cell_steps_per_s": value, "leym_over_it": ours / value if isinstance(value, float) else ""}
        for name, value in found.items()
    ]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--quick", action="store_true", help="few short jobs; the ratios are rough")
    options.add_argument("--json", action="store_true")
    options.add_argument("--law", choices=LAWS, default="nca")
    options.add_argument("--slots", type=int, default=16)
    options.add_argument("--jobs", type=int, help="jobs that arrive (8 for each slot, with --quick 3)")
    options.add_argument("--mean", type=int, help="mean steps of a job (200, of unet_unitary 16; with --quick half)")
    options.add_argument("--precision", default="nf4")
    chosen = options.parse_args()
    engine = Engine(chosen.slots)
    engine.start()
    machine = engine.on_device_thread(Machine.measure)  # in a pool of threads that ends with it
    engine.stop()
    with TemporaryDirectory() as folder:
        law = make_law(chosen.law, Path(folder))
        mean = chosen.mean or {"unet_unitary": 16}.get(chosen.law, 200) // (2 if chosen.quick else 1)
        jobs = chosen.jobs or (3 if chosen.quick else 8) * chosen.slots
        found = {"serving": serving(law, chosen.precision, chosen.slots, jobs, mean)}
        if chosen.law == "nca":
            found["stepping"] = stepping(law, 1.5 if chosen.quick else 6.0)
        costs = {
            "serving": cost_per_cell_step(law, GRID, filling_size(GRID, chosen.slots, pick_device().torch.type)),
            "stepping": cost_per_cell_step(law, JAX_GRID, JAX_BATCH),
        }
    for section, rows in found.items():
        for row in rows:
            if isinstance(speed := row.get("cell_steps_per_s"), float):
                row |= machine.roofline(speed, costs[section])
    if chosen.json:
        print(json.dumps(found | {"law": chosen.law, "machine": machine.as_dict()}))
        return
    print(machine.as_dict())
    print(f"{chosen.law} {chosen.precision}, {chosen.slots} slots, {jobs} jobs of mean {mean} steps\n")
    for rows in found.values():
        keys = dict.fromkeys(key for row in rows for key in row)
        print(table([{key: row.get(key, "") for key in keys} for row in rows]) + "\n")


if __name__ == "__main__":
    main()
