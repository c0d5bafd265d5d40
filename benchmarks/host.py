"""Processor time of one short member, part by part: what the host does around the steps.

    python -m benchmarks.host [--members 320] [--slots 16]

Everything, the step too, computes on one thread, and counts processor time, not seconds: a busy machine changes little.
A part does not contain the parts inside it. `delivering` and `writing` are those of a sink that stores frames and last
states in a folder, as a worker does, without its job table. `bookkeeping` is what the loop of the engine does around
all of that; the first line compares it between small and large batches, and with a small one whose step has emptied the
caches of the core, as that of a large one does.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import local
from typing import Any
from unittest.mock import patch

import torch

from benchmarks.common import make_law, table
from benchmarks.members import (
    BURSTS,
    FEW,
    LIMIT_S,
    MANY,
    NCA_GRID,
    NCA_STEPS,
    PRECISION,
    host_burst_s,
    members_of,
)
from leym.contract.spec import JobSpec
from leym.engine import pipeline, recorder
from leym.engine.admission import Admission
from leym.engine.batch import Batch
from leym.engine.benchmark import Countdown
from leym.engine.delivery import ResultDispatcher
from leym.engine.engine import Engine
from leym.engine.run import Run
from leym.engine.states import Arrays, GroupState, Places
from leym.engine.step.per_cell_cpu import FusedCells
from leym.frames.layout import job_arrays
from leym.frames.stores.files import FileStore
from leym.frames.writer import FrameWriter

COMMIT_S = 2.0
PARTS: dict[str, list[tuple[Any, str]]] = {
    "stepping": [(FusedCells, "advance")],
    "start states": [(Run, "_draw")],
    "admission": [(Admission, "admit")],
    "recording": [(pipeline, "record"), (recorder, "_compute")],
    "last states": [(Batch, "checkpoint")],
    "leaving": [(Batch, "leave")],
    "bookkeeping": [(Engine, name) for name in ("_schedule", "_launch", "_settle")],
    "delivering": [(ResultDispatcher, "_deliver_all")],
    "writing": [(FrameWriter, "append"), (FrameWriter, "append_last"), (FrameWriter, "flush")],
}


class Stopwatch:
    """Adds up the processor time of calls by part, in any thread, each without the parts called inside it."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._thread = local()

    def watching(self, part: str, call: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(call)
        def timed(*args: Any, **kwargs: Any) -> Any:
            inside, self._thread.inside = getattr(self._thread, "inside", 0.0), 0.0
            began = time.thread_time()
            try:
                return call(*args, **kwargs)
            finally:
                took = time.thread_time() - began
                self.seconds[part] += took - self._thread.inside
                self._thread.inside = inside + took

        return timed

    @contextmanager
    def on(self, parts: dict[str, list[tuple[Any, str]]]) -> Iterator[None]:
        before = [(owner, name, getattr(owner, name)) for calls in parts.values() for owner, name in calls]
        for part, calls in parts.items():
            for owner, name in calls:
                setattr(owner, name, self.watching(part, getattr(owner, name)))
        try:
            yield
        finally:
            for owner, name, call in before:
                setattr(owner, name, call)


class StoringSink(Countdown):
    """Stores frames and last states as a worker's sink does, every two seconds."""

    def __init__(self, members: int, folder: Path, spec: JobSpec, d_state: int):
        super().__init__(members)
        arrays = job_arrays(spec, d_state, members)
        self.writer = FrameWriter(FileStore(folder), "members", 1, arrays, members=members)
        self._flushed = time.monotonic()

    def frames(self, step: int, places: Places, fields: Arrays, observables: Arrays) -> None:  # type: ignore[override]
        self.writer.append(step, places, fields, observables)
        if time.monotonic() - self._flushed > COMMIT_S:
            self.writer.flush()
            self._flushed = time.monotonic()

    def finished(self, state: GroupState) -> None:
        self.writer.append_last(state.places, state.arrays["psi"], state.arrays.get("memory"))
        if self._left == len(state.places):
            self.writer.flush()
        super().finished(state)


def member_ms(members: int, slots: int, *, stored: bool) -> dict[str, float]:
    """Measure the processor time of a member in milliseconds, by part."""
    spec = JobSpec.model_validate(
        {
            "law": "nca",
            "grid": NCA_GRID,
            "steps": NCA_STEPS,
            "record": [{"field": "phase", "every": NCA_STEPS}],
            "precision": PRECISION,
        }
    )
    with TemporaryDirectory(prefix="leym-bench-") as folder:
        law = make_law("nca", Path(folder))
        engine = Engine(slots, largest_batch=4096, burst_s=LIMIT_S)  # or a busy machine makes more bursts
        engine.start()
        try:
            engine.warm(law, PRECISION, NCA_GRID)
            watch = Stopwatch()
            with watch.on(PARTS):
                for n in (slots, members):  # the first time does whatever is done once
                    watch.seconds.clear()
                    sink = StoringSink(n, Path(folder) / str(n), spec, law.manifest.d_state) if stored else Countdown(n)
                    run = Run(str(n), law, PRECISION, NCA_GRID, NCA_STEPS, members_of(n), sink, spec.record)
                    began = time.process_time()
                    engine.submit(run)
                    if not sink.over.wait(LIMIT_S):
                        raise TimeoutError(f"{n} members had not ended after {LIMIT_S:.0f} s")
                    whole = time.process_time() - began
                engine.on_device_thread(lambda: None)
        finally:
            engine.stop()
    found = {part: 1e3 * watch.seconds[part] / members for part in PARTS}
    ms = 1e3 * whole / members
    return {"whole process": ms} | found | {"stepping / whole": found["stepping"] / ms}


def burst_ms(slots: int, *, cold: bool = False) -> float:
    """Measure the processor time of the engine's bookkeeping in a burst of one full batch, a recording at its end.

    `cold`: with caches that have been emptied after the step.
    """
    watch, step, more = Stopwatch(), FusedCells.advance, torch.zeros(2**24)

    def emptying(self: FusedCells, *arguments: Any) -> None:
        step(self, *arguments)
        more.add_(1)

    with patch.object(FusedCells, "advance", emptying if cold else step), watch.on(PARTS):
        host_burst_s(slots)
    return 1e3 * watch.seconds["bookkeeping"] / (BURSTS + 50)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--members", type=int, default=320)
    options.add_argument("--slots", type=int, default=16)
    chosen = options.parse_args()
    torch.set_num_threads(1)
    thrown, stored = (member_ms(chosen.members, chosen.slots, stored=stored) for stored in (False, True))
    few, cold, many = burst_ms(FEW), burst_ms(FEW, cold=True), burst_ms(MANY)
    print(f"bookkeeping of a burst in ms: {FEW} slots {few:.2f}, cold {cold:.2f}; {MANY} slots {many:.2f}\n")
    print(table([{"ms of a core per member": part, "engine": thrown[part], "stored": stored[part]} for part in thrown]))


if __name__ == "__main__":
    main()
