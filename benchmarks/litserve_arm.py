"""Jobs sent to a LitServe server of the same law (`litserve_server.py`), at their moments, and what became of them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from tempfile import TemporaryFile
from time import perf_counter, sleep
from typing import Any

import httpx2
import numpy as np

from leym.common.children import end_with_parent
from leym.laws.bundle import Bundle
from workers.broker import free_port

READY_S = 240.0

Arrivals = list[tuple[float, int]]  # seconds from the beginning, steps


@contextmanager
def server(kind: str, law: Bundle, precision: str, grid: tuple[int, int], slots: int, kernel: str) -> Iterator[str]:
    """Its address. Raises RuntimeError when it does not come up; the message ends with what it said last."""
    port = free_port()
    sizes = ["--grid", *map(str, grid), "--slots", str(slots), "--port", str(port), "--kernel", kernel]
    command = [sys.executable, "-m", "benchmarks.litserve_server", kind, "--law", str(law.path)]
    # as `leym up` has it for its workers, or the arms differ in more than the serving
    env = {"GOMP_SPINCOUNT": "10000", "MALLOC_ARENA_MAX": "2"} | os.environ
    with TemporaryFile("w+") as log:
        process = subprocess.Popen(
            [*command, "--precision", precision, *sizes],
            stdout=log,
            stderr=log,
            env=env,
            start_new_session=True,
            preexec_fn=end_with_parent,
        )
        try:
            end = perf_counter() + READY_S
            while not _healthy(f"http://127.0.0.1:{port}/health"):
                if process.poll() is not None or perf_counter() > end:
                    log.seek(0)
                    raise RuntimeError("\n".join(log.read().splitlines()[-3:]) or "LitServe did not come up")
                sleep(0.2)
            yield f"http://127.0.0.1:{port}"
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # its workers are of its session
            process.wait()


def _healthy(url: str) -> bool:
    try:
        return httpx2.get(url, timeout=2, trust_env=False).status_code == 200
    except httpx2.HTTPError:
        return False


def litserve_arm(
    kind: str, law: Bundle, precision: str, grid: tuple[int, int], slots: int, arrivals: Arrivals, kernel: str
) -> dict[str, Any]:
    """Requests are sent whatever became of those before. See `summary`; {"error": why} without LitServe."""
    try:
        with server(kind, law, precision, grid, slots, kernel) as url:
            asyncio.run(_ask_all(url, [(0.0, 2)] * slots))  # whatever is done at a first time
            return asyncio.run(_ask_all(url, arrivals, grid))
    except RuntimeError as error:
        return {"error": str(error).splitlines()[-1]}


async def _ask_all(url: str, arrivals: Arrivals, grid: tuple[int, int] = (1, 1)) -> dict[str, Any]:
    limits = httpx2.Limits(max_connections=len(arrivals))
    async with httpx2.AsyncClient(limits=limits, timeout=None, trust_env=False) as client:
        began = perf_counter()

        async def ask(seed: int, at: float, steps: int) -> tuple[str, float, float]:
            await asyncio.sleep(max(0.0, began + at - perf_counter()))
            answer = await client.post(f"{url}/predict", json={"seed": seed, "steps": steps})
            answer.raise_for_status()
            said = [json.loads(line)["sha256"] for line in answer.text.replace("}{", "}\n{").splitlines() if line]
            now = perf_counter() - began
            return [digest for digest in said if digest][-1], now - at, now

        answers = await asyncio.gather(*(ask(i, at, steps) for i, (at, steps) in enumerate(arrivals)))
    return summary(arrivals, grid, *zip(*answers, strict=True))


def summary(arrivals: Arrivals, grid: tuple[int, int], digests: Any, latencies: Any, ends: Any) -> dict[str, Any]:
    """Summarise the arm.

    Returns:
        cell_steps_per_s: of all jobs, over the time from the first arrival to the last answer. p50_s, p99_s: from a
        job's arrival to its answer.
    """
    work = sum(steps for _, steps in arrivals) * grid[0] * grid[1]
    p50, p99 = np.percentile(latencies, [50, 99])
    rate = work / (max(ends) - min(at for at, _ in arrivals))
    return {"cell_steps_per_s": rate, "p50_s": float(p50), "p99_s": float(p99), "digests": list(digests)}
