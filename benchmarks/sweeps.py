"""Sweeps: thousands of small members through the whole service, and what a member costs.

    python -m benchmarks.sweeps [--quick] [--json] [--members 20000] [--slots 16]

tiny    members of `aurora`, 8×8, 10 steps, two frames of phase and two rows of observables
    members_per_s                from the request to the last member's end
    objects                      files in the store
    bytes_per_member             growth of store and job table on the disk per member, less the bytes of its frames
    host_burst_ratio_4096_to_16  host time of a burst at 4,096 slots over that at 16

nca     members of NCA d=8 h=128, 64×64, 20 steps, two frames of phase
    service_vs_engine   cell-steps/s of the whole service over those of the engine alone with the same frames
    engine_vs_kernel    the engine alone over the step in a loop: the same full batch with nothing around it
    idle_share          part of the worker's busy time in which nothing was stepped
    recording_share     part of the worker's busy time in which what is recorded was computed; idle_share contains it
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, perf_counter, sleep
from typing import Any

from benchmarks.common import Machine, make_law
from benchmarks.members import (
    FEW,
    LIMIT_S,
    MANY,
    NCA_CELL_STEPS,
    NCA_GRID,
    NCA_STEPS,
    PRECISION,
    engine_alone,
    host_burst_s,
)
from benchmarks.service import shares, worker_after
from leym.client import Client, Sweep
from leym.demo.service import running_service
from leym.engine.engine import Engine

TINY = {"grid": (8, 8), "steps": 10, "record": {"phase": 10}, "observe": 10, "precision": "nf4"}
TINY_FRAMES = 2 * 8 * 8 * 4  # bytes of a member's phases, float32
POLL_S = 0.1  # a request takes about 3 ms of a processor from what is measured


@dataclass(frozen=True)
class Ended:
    """Costs of running a sweep to its end.

    Attributes:
        seconds: from the request to the last member's end.
        objects: files that it added to the store.
        stored_bytes: growth of store and job table on the disk.
    """

    seconds: float
    objects: int
    stored_bytes: int


def run(client: Client, data: Path, law: str, members: int, **spec: Any) -> Ended:
    """Run a sweep over seeds to its end. Raises RuntimeError if a member did not succeed."""
    files, size = usage(data)
    began = perf_counter()
    sweep = client.sweep(law, seed=range(members), **spec)
    wait(sweep)
    took = perf_counter() - began
    if sweep.counts.get("succeeded") != members:
        raise RuntimeError(f"of {members} members not all have succeeded: {sweep.counts}")
    after_files, after_size = usage(data)
    return Ended(took, after_files - files, after_size - size)


def wait(sweep: Sweep) -> None:
    """Wait in short polls: those of `Sweep.wait` become longer than what is measured."""
    end = monotonic() + LIMIT_S
    while not sweep.refresh().done:
        if monotonic() > end:
            raise TimeoutError(f"{sweep.step} of {sweep.size} members have ended after {LIMIT_S:.0f} s")
        sleep(POLL_S)


def usage(data: Path) -> tuple[int, int]:
    """Return the number of files in the store, and the bytes on the disk of the store and the job table."""
    store = [path for path in (data / "store").rglob("*") if path.is_file()]
    rest = [path for path in data.glob("jobs.sqlite*") if path.is_file()]
    return len(store), sum(512 * path.stat().st_blocks for path in (*store, *rest))


@contextmanager
def service(slots: int, warm: str, laws: tuple[Path, ...] = ()) -> Iterator[tuple[Client, Path]]:
    """A service with its data folder."""
    os.environ["LEYM_SLOTS"] = str(slots)
    with TemporaryDirectory(prefix="leym-bench-") as folder:
        data = Path(folder) / "data"
        with running_service(laws, warm, data=data) as client:
            yield client, data


def tiny(members: int, slots: int) -> dict[str, float]:
    with service(slots, f"aurora/{PRECISION}/8x8") as (client, data):
        run(client, data, "aurora", slots, **TINY)  # whatever is done at a first time
        found = run(client, data, "aurora", members, **TINY)
    ratio = host_burst_s(MANY) / host_burst_s(FEW)
    return {
        "members": members,
        "members_per_s": members / found.seconds,
        "objects": found.objects,
        "bytes_per_member": found.stored_bytes / members - TINY_FRAMES,
        "host_burst_ratio_4096_to_16": ratio,
    }


def nca(seconds: float, slots: int) -> dict[str, float]:
    with TemporaryDirectory() as folder:
        law = make_law("nca", Path(folder))
        alone, kernel = engine_alone(law, slots, seconds)
        members = ceil(seconds * alone / NCA_CELL_STEPS / slots) * slots
        warm = f"{law.name}/{PRECISION}/{NCA_GRID[0]}x{NCA_GRID[1]}"
        with service(slots, warm, (law.path,)) as (client, data):
            before = worker_after(client, 0)
            spec = {"grid": NCA_GRID, "steps": NCA_STEPS, "record": {"phase": NCA_STEPS}, "precision": PRECISION}
            found = run(client, data, law.name, members, **spec)
            after = worker_after(client, before["cell_steps"] + members * NCA_CELL_STEPS)
    speed = members * NCA_CELL_STEPS / found.seconds

    def part(key: str) -> float:
        return float(after["info"][key] - before["info"].get(key, 0))

    return {
        "members": members,
        "cell_steps_per_s": speed,
        "service_vs_engine": speed / alone,
        "engine_vs_kernel": alone / kernel,
        "idle_share": shares(before["info"], after["info"])["idle"],
        "recording_share": part("recording_s") / part("busy_s"),
    }


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--quick", action="store_true", help="the ratios are rough")
    options.add_argument("--json", action="store_true")
    options.add_argument("--members", type=int, default=20_000, help="of the tiny law")
    options.add_argument("--slots", type=int, default=16, help="of the worker in `nca`")
    options.add_argument("--tiny-slots", type=int, default=1024, help="of the worker in `tiny`")
    chosen = options.parse_args()
    engine = Engine(chosen.slots)
    engine.start()
    machine = engine.on_device_thread(Machine.measure)  # in a pool of threads that ends with it
    engine.stop()
    found: dict[str, Any] = {
        "tiny": tiny(chosen.members, chosen.tiny_slots),
        "nca": nca(5.0 if chosen.quick else 20.0, chosen.slots),
        "machine": machine.as_dict(),
    }
    print(json.dumps(found, indent=None if chosen.json else 1))


if __name__ == "__main__":
    main()
