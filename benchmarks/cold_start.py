"""How long until a worker serves, and until a job's first burst is made.

    python -m benchmarks.cold_start [--json] [--law aurora]

    ready         from the start of a worker's process until it serves, with one bucket in LEYM_WARM: with nothing
                  compiled on the machine, and with what was compiled before
    first burst   from POST /v1/jobs to the end of a job of one step: in a bucket that the worker has (the median of
                  FIVE), and once each in buckets that were compiled before but are not in this worker yet

Two services, one after the other, with one folder for what is compiled; nothing else runs.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

from benchmarks.common import Machine, table
from leym.client import Client
from leym.demo.service import running_service

FIVE = 5
HERE, ELSEWHERE = (64, 64), ((48, 48), (32, 32), (96, 96))


def one_step_s(client: Client, law: str, grid: tuple[int, int]) -> float:
    """Seconds from the request to the end of a job."""
    began = perf_counter()
    client.submit(law, grid, 1, precision="nf4").wait().check()
    return perf_counter() - began


def start(law: str) -> dict[str, Any]:
    with running_service(warm=f"{law}/nf4/{HERE[0]}x{HERE[1]}") as client:
        [worker] = client.workers()
        known = median(one_step_s(client, law, HERE) for _ in range(FIVE))
        others = [one_step_s(client, law, grid) for grid in ELSEWHERE]
        return {"ready_s": worker["info"]["ready_s"], "resident_s": known, "not_resident_s": others}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--json", action="store_true")
    options.add_argument("--law", default="aurora")
    chosen = options.parse_args()
    with TemporaryDirectory() as folder:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(Path(folder) / "compiled")
        found = {name: start(chosen.law) for name in ("nothing compiled", "compiled before")}
    if chosen.json:
        print(json.dumps({"cold_start": found, "machine": Machine.measure().as_dict()}))
        return
    rows = [
        {"machine with": name, "READY, s": one["ready_s"], "1-step job, resident bucket, s": one["resident_s"]}
        | {f"{g[0]}x{g[1]}, not resident, s": s for g, s in zip(ELSEWHERE, one["not_resident_s"], strict=True)}
        for name, one in found.items()
    ]
    print(f"{Machine.measure().as_dict()}\n{chosen.law} nf4\n\n{table(rows)}")


if __name__ == "__main__":
    main()
