"""A judgement beside jobs: its universes are guests of an engine that serves others, and never fill it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from leym.contract.problems import Problem
from leym.engine.engine import Engine
from leym.engine.run import Arrays, Run
from leym.laws.bundle import Bundle

LAST = -1  # below every job's priority
LOOK_S = 0.5


class Guest:
    """The part of an Engine that ensembles use: at most `at_once` runs at a time, after every waiting job.

    told: called with the steps done by all runs that have ended well. `leave` ends everything: runs leave the engine,
    and whoever waits for them gets a Problem.
    """

    def __init__(self, engine: Engine, at_once: int, told: Callable[[int], None] = lambda _: None):
        self.engine, self.slots, self._told = engine, at_once, told
        self._free = threading.BoundedSemaphore(at_once)
        self._left = threading.Event()
        self._lock = threading.Lock()
        self._live: dict[str, Passage] = {}
        self._steps = 0

    @property
    def draining(self) -> bool:
        return self.engine.draining or self._left.is_set()

    def warm(self, law: Bundle, precision: str, grid: tuple[int, int]) -> None:
        self._check()
        self.engine.warm(law, precision, grid)

    def attributes(self, run: Run) -> dict[str, Any]:
        return self.engine.attributes(run)

    def submit(self, run: Run) -> None:
        """Blocks until there is room. Raises Problem 503 when that will never be."""
        while not self._free.acquire(timeout=LOOK_S):
            self._check()
        run.priority, run.sink = LAST, Passage(self, run)
        with self._lock:
            self._live[run.id] = run.sink
        if self.draining:
            run.sink.released()
            self._check()
        self.engine.submit(run)

    def leave(self) -> None:
        self._left.set()
        with self._lock:
            live = list(self._live.values())
        for passage in live:
            self.engine.cancel(passage.run.id)
            passage.released()

    def ended(self, run: Run, steps: int) -> None:
        """A run has left, having done so many steps (0: not well)."""
        with self._lock:
            if self._live.pop(run.id, None) is None:
                return
            self._steps += steps
            done = self._steps
        self._free.release()
        if steps:
            self._told(done)

    def _check(self) -> None:
        if self.draining:
            raise Problem(503, "The judgement ended", "its universes were told to leave the engine")


class Passage:
    """The sink of a guest's run: everything passes on to its own sink, and its end frees the place."""

    def __init__(self, guest: Guest, run: Run):
        self.guest, self.run, self.sink = guest, run, run.sink
        self.begin = run.start.step if run.start else 0

    def admitted(self) -> None:
        self.sink.admitted()

    def frames(self, step: int, fields: Arrays, observables: Mapping[str, float]) -> None:
        self.sink.frames(step, fields, observables)

    def progress(self, step: int) -> None:
        self.sink.progress(step)

    def checkpoint(self, step: int, arrays: Arrays) -> None:
        self.sink.checkpoint(step, arrays)

    def finished(self, step: int, arrays: Arrays) -> None:
        self.sink.finished(step, arrays)
        self.guest.ended(self.run, step - self.begin)

    def failed(self, step: int, problem: Problem) -> None:
        self.sink.failed(step, problem)
        self.guest.ended(self.run, 0)

    def released(self) -> None:
        self.sink.released()
        self.guest.ended(self.run, 0)
