"""Runs the ensembles of a judgement in the background of an engine that serves jobs, without ever filling it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from leym.contract.problems import Problem
from leym.engine.engine import Engine
from leym.engine.run import Run
from leym.engine.states import Arrays, GroupState, Places
from leym.laws.bundle import Bundle

LOWEST = -1  # a priority below that of every job
POLL_S = 0.5


class BackgroundEngine:
    """The part of an Engine that ensembles use, restricted to a few runs at a time, each after every waiting job.

    A run has one of the engine's slots, however many members it has.

    Args:
        engine: serves jobs as well.
        max_runs: runs in the engine at a time.
        on_progress: called with the steps that all members of all runs have made so far, a few times a second at most.
    """

    def __init__(self, engine: Engine, max_runs: int, on_progress: Callable[[int], None] = lambda steps: None):
        self.engine, self._on_progress = engine, on_progress
        self._room = threading.BoundedSemaphore(max_runs)
        self._left = threading.Event()
        self._lock = threading.Lock()
        self._active: dict[str, ForwardingSink] = {}
        self._steps = 0  # of all runs
        self.device_s = 0.0  # of the runs that have ended

    @property
    def draining(self) -> bool:
        """True if the engine is stopping, or `leave` was called."""
        return self.engine.draining or self._left.is_set()

    def warm(self, law: Bundle, precision: str, grid: tuple[int, int]) -> None:
        """Load and compile what runs of this law, precision and grid need."""
        self._check()
        self.engine.warm(law, precision, grid)

    def attributes(self, run: Run) -> dict[str, Any]:
        """Return how the engine computes a run."""
        return self.engine.attributes(run)

    def submit(self, run: Run) -> None:
        """Submit a run; block until there is room for it.

        Raises:
            Problem: 503 if the engine is draining.
        """
        while not self._room.acquire(timeout=POLL_S):
            self._check()
        run.priority, run.sink = LOWEST, ForwardingSink(self, run)
        with self._lock:
            self._active[run.id] = run.sink
        if self.draining:
            run.sink.released()
            self._check()
        self.engine.submit(run)

    def leave(self) -> None:
        """Cancel all runs and accept no more; callers that wait for a run get a Problem."""
        self._left.set()
        with self._lock:
            active = list(self._active.values())
        for sink in active:
            self.engine.cancel(sink.run.id)
            sink.released()

    def ended(self, run: Run) -> None:
        """Free the room of a run that has left the engine."""
        with self._lock:
            if self._active.pop(run.id, None) is None:
                return
            self.device_s += run.device_s
        self._room.release()

    def advanced(self, steps: int) -> None:
        """Count steps that members of a run have made since the last call."""
        with self._lock:
            self._steps += steps
            done = self._steps
        self._on_progress(done)

    def _check(self) -> None:
        if self.draining:
            raise Problem(503, "The judgement ended", "its universes have left the engine")


class ForwardingSink:
    """Forwards everything to the own sink of a run, counts the steps, and frees the run's room when it ends."""

    def __init__(self, owner: BackgroundEngine, run: Run):
        self.owner, self.run, self.sink = owner, run, run.sink
        self._at = np.zeros(len(run.members), np.int64)  # the step of each member
        for state in run.resumed:
            self._at[state.places] = state.step
        self._going = len(run.members)

    def admitted(self) -> None:
        """Forward that members have slots."""
        self.sink.admitted()

    def frames(self, step: int, places: Places, fields: Arrays, observables: Arrays) -> None:
        """Forward the frames and observables of a step."""
        self.sink.frames(step, places, fields, observables)

    def progress(self, step: int, places: Places) -> None:
        """Forward and count the present step."""
        self.sink.progress(step, places)
        self._count(step, places)

    def checkpoint(self, state: GroupState) -> None:
        """Forward a checkpoint."""
        self.sink.checkpoint(state)

    def finished(self, state: GroupState) -> None:
        """Forward the last states, and count their steps."""
        self.sink.finished(state)
        self._end(state.step, state.places)

    def failed(self, step: int, places: Places, problem: Problem) -> None:
        """Forward that members have failed, and count the steps that they have made."""
        self.sink.failed(step, places, problem)
        self._end(step, places)

    def released(self) -> None:
        """Forward that the engine has let the run go."""
        self.sink.released()
        self.owner.ended(self.run)

    def _end(self, step: int, places: Places) -> None:
        self._going -= len(places)
        if self._going == 0:
            self.owner.ended(self.run)
        self._count(step, places)

    def _count(self, step: int, places: Places) -> None:
        before = int(self._at[places].sum())
        self._at[places] = step
        self.owner.advanced(step * len(places) - before)
