"""Runs ensembles of universes through the real engine, in the batches, bits and precision that jobs get.

The frames stay in memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from threading import Event
from time import monotonic
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from leym.contract.problems import Problem
from leym.contract.spec import Observe, Recording
from leym.engine.engine import Engine
from leym.engine.run import Run
from leym.engine.states import Arrays, Checkpoint, GroupState, Places
from leym.laws.bundle import Bundle
from leym.laws.starts import default_start
from leym.settings import settings

SILENCE_S = 900.0  # the engine is taken for dead after so long without news; a compilation takes a minute or two
_run_numbers = count()


class EngineLike(Protocol):
    """The part of an engine that ensembles use: an `Engine`, or a `BackgroundEngine`."""

    @property
    def draining(self) -> bool:
        """True if the engine accepts no more runs and releases those it has."""

    def warm(self, law: Bundle, precision: str, grid: tuple[int, int]) -> None:
        """Load and compile what runs of this law, precision and grid need."""

    def submit(self, run: Run) -> None:
        """Queue a run; its sink receives the results."""

    def attributes(self, run: Run) -> dict[str, Any]:
        """Return how the engine computes a run."""


@dataclass(frozen=True)
class Subject:
    """A law as it is run: its weights, their precision, and gamma (damping per step)."""

    law: Bundle
    precision: str
    gamma: float = 0.01


@dataclass
class Trajectories:
    """The frames of an ensemble of M members.

    Attributes:
        psi: states, complex64 [M, T, H, W, d].
        activity: mean activity of the last step before each frame, float32 [M, T].
        ends: the last state of each member.
        seeds: the seed of each member.
        broken: seeds whose state did not stay finite; they are not among the members.
        frames: the step of each frame; empty for runs that start from checkpoints.
        attributes: how the engine computed the runs.
    """

    psi: Tensor
    activity: Tensor
    ends: list[Checkpoint]
    seeds: list[int]
    broken: list[int]
    frames: list[int]
    attributes: dict[str, Any]


@dataclass
class RecordingSink:
    """A sink of one universe that keeps the frames after step `after` in memory."""

    after: int
    seed: int
    psi: dict[int, np.ndarray[Any, Any]] = field(default_factory=dict)
    activity: dict[int, float] = field(default_factory=dict)
    end: Checkpoint | None = None
    over: Event = field(default_factory=Event)
    last_news: float = field(default_factory=monotonic)

    def admitted(self) -> None:
        """Note that the run has a slot."""
        self.last_news = monotonic()

    def frames(self, step: int, places: Places, fields: Arrays, observables: Arrays) -> None:
        """Keep the state and the activity of a step."""
        self.last_news = monotonic()
        if step > self.after:
            self.psi[step], self.activity[step] = fields["psi"][0], float(observables["activity"][0])

    def progress(self, step: int, places: Places) -> None:
        """Note that the run advances."""
        self.last_news = monotonic()

    def checkpoint(self, state: GroupState) -> None:
        """Note that the run advances; the checkpoint is not kept."""
        self.last_news = monotonic()

    def finished(self, state: GroupState) -> None:
        """Keep the last state."""
        self.end = Checkpoint(state.step, {name: array[0] for name, array in state.arrays.items()})
        self.over.set()

    def failed(self, step: int, places: Places, problem: Problem) -> None:
        """End without a last state: the run did not stay finite."""
        self.over.set()

    def released(self) -> None:
        """End without a last state: the engine has let the run go."""
        self.over.set()


@contextmanager
def running_engine(engine: EngineLike | None, slots: int) -> Iterator[EngineLike]:
    """Yield `engine`, which its owner starts and stops; without one, start an engine and stop it at the end."""
    if engine is not None:
        yield engine
        return
    own = Engine(slots, compile=settings().compile)
    own.start()
    try:
        yield own
    finally:
        own.stop()


def evolve(
    engine: EngineLike,
    subject: Subject,
    grid: tuple[int, int],
    seeds: Sequence[int],
    *,
    steps: int,
    every: int,
    spin_up: int = 0,
    starts: Sequence[Checkpoint] | None = None,
) -> Trajectories:
    """Run an ensemble to its end, one member per seed.

    Args:
        engine: runs the universes.
        subject: the law, its precision and gamma.
        grid: (H, W) in cells.
        seeds: one per member.
        steps: steps of each member from its start.
        every: steps between two frames, counted from step 0 of the universe.
        spin_up: steps after the start without frames.
        starts: a checkpoint per member to start from; without them members start from what suits the law

    Raises:
        Problem: the law cannot be run at all, or the engine stops.
        TimeoutError: the engine has sent no news of any run for `SILENCE_S`.
    """
    record, observe = (Recording(field="psi", every=every),), Observe(every=every, names=("activity",))
    engine.warm(subject.law, subject.precision, grid)
    runs: list[tuple[Run, RecordingSink]] = []
    for i, seed in enumerate(seeds):
        start = starts[i] if starts else None
        begin = start.step if start else 0
        sink = RecordingSink(after=begin + spin_up, seed=seed)
        name = f"fidelity-{next(_run_numbers)}"
        law, precision, gamma, initial = (
            subject.law,
            subject.precision,
            subject.gamma,
            default_start(subject.law.manifest),
        )
        run = Run.one(name, law, precision, grid, begin + steps, gamma, seed, initial, sink, record, observe, start)
        runs.append((run, sink))
    for run, _ in runs:
        engine.submit(run)
    for run, sink in runs:
        _wait(run, sink, runs)
    finished = [(run, sink) for run, sink in runs if sink.end is not None]
    if engine.draining:
        raise Problem(503, "The engine is stopping", "an ensemble was released before its end")
    frames = sorted({step for _, sink in finished for step in sink.psi}) if starts is None else []
    shape = (0, 0, *grid, subject.law.manifest.d_state)
    psi = [
        torch.from_numpy(np.stack([sink.psi[step] for step in sorted(sink.psi)])) for _, sink in finished if sink.psi
    ]
    activity = [torch.tensor([sink.activity[step] for step in sorted(sink.activity)]) for _, sink in finished]
    return Trajectories(
        torch.stack(psi) if psi else torch.zeros(shape, dtype=torch.complex64),
        torch.stack(activity) if activity else torch.zeros(0, 0),
        [sink.end for _, sink in finished if sink.end is not None],
        [sink.seed for _, sink in finished],
        [sink.seed for _, sink in runs if sink.end is None],
        frames,
        engine.attributes(runs[0][0]),
    )


def _wait(run: Run, sink: RecordingSink, runs: list[tuple[Run, RecordingSink]]) -> None:
    """Block until a run is over; news of any run counts as a sign of life."""
    while not sink.over.wait(1.0):
        if monotonic() - max(other.last_news for _, other in runs) > SILENCE_S:
            raise TimeoutError(f"{run.id}: the engine has sent no news of any run for {SILENCE_S:.0f} s")
