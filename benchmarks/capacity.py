"""Capacity of the parts that all workers share: what a block and a member cost them, and which part is full first.

    python -m benchmarks.capacity [--json] [--speed 5e6]

It measures the API, the job table (SQLite), the broker (the embedded Valkey) and the store (files) on this machine, one
at a time and without workers. A model then adds up their time for 10^6 and 10^9 members on 1, 10 and 1,000 workers:
`docs/scaling.md` explains it.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from math import ceil
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import numpy as np

from app import create_app
from benchmarks.common import table
from leym import tickets
from leym.contract.limits import LIMITS
from leym.contract.member_states import MemberStates
from leym.contract.spec import JobSpec
from leym.frames.stores.files import FileStore
from leym.jobs.block_size import members_per_block
from leym.jobs.table import JobTable
from leym.settings import Settings
from workers.broker import Broker

BLOCK_MEMBERS = 4096  # of a block at most
SMALL, LARGE = 2**16, 16 * 2**20  # bytes of objects that are written to measure the store
BLOCKS, TICKETS, OBJECTS = 200, 2000, 16  # measured
SPEED = 5e6  # cell-steps/s of a worker, if nothing else is said
MEMBERS, WORKERS = (10**6, 10**9), (1, 10, 1000)


@dataclass(frozen=True)
class Costs:
    """Costs of the shared parts.

    Attributes:
        accept_s_per_member: API, from the request of a sweep to its answer.
        table_s_per_block: job table, one claim, one commit and one end of a block.
        table_bytes_per_block: growth of the database.
        broker_s_per_block: broker and API, sending one ticket and taking it.
        store_s_per_object: store, one object, however small.
        store_s_per_byte: store, each byte of an object.
        objects_per_block: objects of a block that is not split: a shard, a table, last states.
    """

    accept_s_per_member: float
    table_s_per_block: float
    table_bytes_per_block: float
    broker_s_per_block: float
    store_s_per_object: float
    store_s_per_byte: float
    objects_per_block: float = 3.0


@dataclass(frozen=True)
class Workload:
    """Members of one kind.

    Attributes:
        name: for tables.
        cell_steps: work of a member.
        recorded_bytes: frames of a member.
        state_bytes: last state of a member.
    """

    name: str
    cell_steps: int
    recorded_bytes: int
    state_bytes: int

    def block_members(self, speed: float, workers: int) -> int:
        """Return how many of them share a block of a full sweep, on workers of a speed in cell-steps/s."""
        return members_per_block(
            size=LIMITS.sweep_jobs,
            cell_steps=self.cell_steps,
            recorded_bytes=self.recorded_bytes,
            state_bytes=self.state_bytes,
            speed=speed,
            workers=workers,
        )


WORKLOADS = (
    Workload("8×8, 10 steps, two frames", 8 * 8 * 10, 2 * 8 * 8 * 4, 8 * 8 * 4 * 8),
    Workload("64×64, 20 steps, two frames", 64 * 64 * 20, 2 * 64 * 64 * 4, 64 * 64 * 8 * 8),
    Workload("64×64, 2,000 steps, 21 frames", 64 * 64 * 2000, 21 * 64 * 64 * 4, 64 * 64 * 8 * 8),
)


def seconds_by_part(costs: Costs, workload: Workload, members: int, workers: int, speed: float) -> dict[str, float]:
    """Return the seconds that each part needs for all members; the largest is the time of the whole.

    Args:
        costs: of the shared parts, each of which does one thing at a time.
        workload: kind of the members.
        members: number of them.
        workers: workers, which share the computation evenly.
        speed: cell-steps/s of a worker.
    """
    blocks = ceil(members / workload.block_members(speed, workers))
    stored = members * (workload.recorded_bytes + workload.state_bytes)
    objects = max(blocks * costs.objects_per_block, stored / LARGE)
    return {
        "compute": members * workload.cell_steps / (speed * workers),
        "api": members * costs.accept_s_per_member,
        "table": blocks * costs.table_s_per_block,
        "broker": blocks * costs.broker_s_per_block,
        "store": objects * costs.store_s_per_object + stored * costs.store_s_per_byte,
    }


def rows_of(costs: Costs, speed: float) -> Iterator[dict[str, Any]]:
    """Yield a row per case: how long it takes, and the share of that time in which each part is busy."""
    for workload in WORKLOADS:
        for members in MEMBERS:
            for workers in WORKERS:
                found = seconds_by_part(costs, workload, members, workers, speed)
                longest = max(found, key=lambda part: found[part])
                shares = {part: f"{took / found[longest]:.1%}" for part, took in found.items()}
                case = {"members of": workload.name, "members": f"{members:.0e}", "workers": workers}
                yield case | {"takes": _readable(found[longest])} | shares | {"full first": longest}


def measure() -> Costs:
    """Measure the shared parts on this machine, one after the other, in a temporary folder."""
    with TemporaryDirectory(prefix="leym-capacity-") as folder:
        data = Path(folder)
        accept = accept_s(data / "api")
        table_s, table_bytes = table_costs(data / "table")
        per_object = store_s(data / "store", SMALL)
        per_byte = (store_s(data / "store", LARGE) - per_object) / (LARGE - SMALL)
        return Costs(accept, table_s, table_bytes, broker_s(data / "broker"), per_object, max(per_byte, 0.0))


def accept_s(data: Path) -> float:
    """Measure the API: seconds per member of the largest sweep that one request may have."""
    members = LIMITS.sweep_jobs
    client = create_app(Settings(data=data)).test_client()
    base = {"law": "aurora", "grid": [8, 8], "steps": 10, "record": [{"field": "phase", "every": 10}]}
    sweep = {"base": base, "axes": {"seed": {"start": 0, "count": members}}}

    def accept() -> None:
        answer = client.post("/v1/sweeps", json=sweep)
        if answer.status_code != 202:
            raise RuntimeError(f"the sweep was refused: {answer.text}")

    return _timed(accept) / members


def table_costs(data: Path) -> tuple[float, float]:
    """Measure the job table: seconds and bytes per block, with states of 4,096 members that differ."""
    data.mkdir()
    job_table = JobTable(data / "jobs.sqlite")
    states = MemberStates.new(BLOCK_MEMBERS)
    states.step[:] = np.random.default_rng(0).integers(0, 100, BLOCK_MEMBERS)
    manifest = {"states": states.text()}  # the row of a block holds them beside its manifest
    spec = JobSpec(law="aurora", grid=(8, 8), steps=10)
    ids = [job_table.submit(spec, law="aurora@" + "0" * 64, precision="fp32", d_state=4)[0].id for _ in range(BLOCKS)]
    before = _bytes(data)

    def run() -> None:
        for job in ids:
            claim = job_table.claim(job, "worker", 60.0, 3)
            if claim is None:
                raise RuntimeError(f"job {job} cannot be claimed")
            job_table.commit(job, claim.epoch, step=5, manifest=manifest)
            job_table.finish(job, claim.epoch, "succeeded", step=10, manifest=manifest)  # type: ignore[arg-type]

    took = _timed(run)
    grown = _bytes(data) - before
    job_table.close()
    return took / BLOCKS, grown / BLOCKS


def broker_s(data: Path) -> float:
    """Measure the broker: seconds to send a ticket as the API does, and to take it."""
    with broker(data) as url:
        app = tickets.make_app(Settings(redis_url=url))
        queue = app.conf.task_default_queue

        def pass_on() -> None:
            for i in range(TICKETS):
                app.send_task(tickets.TASK, args=(f"{i:026d}",), task_id=f"{i:026d}", retry=False)
            with app.connection_for_read() as connection, connection.SimpleQueue(queue) as taken:
                for _ in range(TICKETS):
                    taken.get(timeout=10).ack()

        took = _timed(pass_on)
        app.close()
    return took / TICKETS


@contextmanager
def broker(data: Path) -> Iterator[str]:
    """A broker of its own; yields its URL."""
    started = Broker(data)
    child = started.start(os.environ)
    try:
        yield started.url
    finally:
        child.end(10.0)


def store_s(data: Path, size: int) -> float:
    """Measure the store: seconds to write an object of `size` bytes that survives a power cut."""
    store, payload = FileStore(data), np.random.default_rng(0).bytes(size)

    def write() -> None:
        for i in range(OBJECTS):
            store.put(f"jobs/{size}-{i}/phase/000000.1", payload)

    return _timed(write) / OBJECTS


def _timed(call: Callable[[], None]) -> float:
    began = perf_counter()
    call()
    return perf_counter() - began


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _readable(seconds: float) -> str:
    for size, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:.1f} s"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--json", action="store_true")
    options.add_argument("--speed", type=float, default=SPEED, help="cell-steps/s of a worker (`leym bench`)")
    chosen = options.parse_args()
    costs = measure()
    rows = list(rows_of(costs, chosen.speed))
    if chosen.json:
        print(json.dumps({"costs": asdict(costs), "speed": chosen.speed, "rows": rows}))
        return
    print(table([{"cost": name, "value": f"{value:.3g}"} for name, value in asdict(costs).items()]))
    print()
    print(table(rows))


if __name__ == "__main__":
    main()
