"""Users who do everything that the API offers, for hours, while the memory of every process is written down."""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections import Counter
from collections.abc import Mapping
from time import perf_counter
from typing import Any

from benchmarks.load_http import Connection, events
from benchmarks.load_processes import CpuSpell, processes_below, slope_per_min

USERS = 8
PAUSE_S = 0.1  # of a user between two requests, on the average: the load is steady, not all that the machine bears
SAMPLE_S = 5.0
KEPT = 50  # jobs of one user; older ones are deleted


async def soak(url: str, job: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    """Requests by kind and status, and of each process its memory at the end and its slope after the warm-up third."""
    done: Counter[str] = Counter()
    samples: dict[str, list[tuple[float, int]]] = {}
    began = perf_counter()
    spell = CpuSpell()
    users = [asyncio.create_task(_User(url, job, seed, done).live(began + seconds)) for seed in range(USERS)]
    while perf_counter() < began + seconds:
        for process in processes_below(os.getpid()):
            at = (perf_counter() - began) / 60
            samples.setdefault(f"{process.name} ({process.pid})", []).append((at, process.rss_kib))
        await asyncio.sleep(min(SAMPLE_S, seconds / 12))
    await asyncio.gather(*users)
    memory = {}
    for name, seen in samples.items():
        at, rss = zip(*seen, strict=True)
        slope = slope_per_min(at, rss)
        memory[name] = {"rss_kib": rss[-1], "kib_per_min": slope if slope == slope else None, "samples": len(rss)}
    return {"minutes": seconds / 60, "users": USERS, "done": dict(done), "memory": memory, "cores": spell.shares()}


class _User:
    def __init__(self, url: str, job: Mapping[str, Any], seed: int, done: Counter[str]):
        self.url, self.job, self.done = url, job, done
        self.connection, self.draw, self.jobs = Connection(url), random.Random(seed), list[str]()

    async def live(self, end: float) -> None:
        doings = [self.submit, self.submit, self.look, self.list, self.read, self.follow, self.cancel]
        while perf_counter() < end:
            doing = self.draw.choice(doings) if self.jobs else self.submit
            try:
                self.done[f"{doing.__name__} {await doing()}"] += 1
            except (ConnectionError, asyncio.IncompleteReadError) as error:
                self.done[f"{doing.__name__} {type(error).__name__}"] += 1
                await self.connection.close()
            await asyncio.sleep(self.draw.uniform(0, 2 * PAUSE_S))
        await self.connection.close()

    def any(self) -> str:
        return self.draw.choice(self.jobs)

    async def submit(self) -> int:
        status, body = await self.connection.send("POST", "/v1/jobs", {**self.job, "seed": self.draw.getrandbits(30)})
        if status == 202:
            self.jobs.append(json.loads(body)["id"])
        if len(self.jobs) > KEPT:
            await self.connection.send("DELETE", f"/v1/jobs/{self.jobs.pop(0)}")
        return status

    async def look(self) -> int:
        return (await self.connection.send("GET", f"/v1/jobs/{self.any()}"))[0]

    async def list(self) -> int:
        return (await self.connection.send("GET", "/v1/jobs?limit=20"))[0]

    async def read(self) -> int:
        form = self.draw.choice(["npy", "png"])
        return (await self.connection.send("GET", f"/v1/jobs/{self.any()}/frames/phase?format={form}&stop=11"))[0]

    async def cancel(self) -> int:
        return (await self.connection.send("POST", f"/v1/jobs/{self.any()}/cancel"))[0]

    async def follow(self) -> int:
        async for _ in events(self.url, f"/v1/jobs/{self.any()}/events"):
            pass
        return 200
