"""Ensembles of universes through the real engine: what a verdict says is said of what jobs run.

The sinks keep frames in memory; a job's batches, bits and precision are those of the service.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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
from leym.contract.spec import ComplexNoise, Observe, Recording
from leym.engine.engine import Engine
from leym.engine.run import Arrays, Checkpoint, Run
from leym.laws.bundle import Bundle
from leym.settings import settings


class Laboratory(Protocol):
    """What ensembles need of an engine: an `Engine`, or a `Guest` of one."""

    @property
    def draining(self) -> bool: ...

    def warm(self, law: Bundle, precision: str, grid: tuple[int, int]) -> None: ...

    def submit(self, run: Run) -> None: ...

    def attributes(self, run: Run) -> dict[str, Any]: ...


SILENCE_S = 900.0  # no news of a run for so long means that the engine is gone; a compilation takes a minute or two
_number = count()


@dataclass(frozen=True)
class Subject:
    """A law as it is run: its weights, their precision, and gamma (per step)."""

    law: Bundle
    precision: str
    gamma: float = 0.01


@dataclass
class Trajectories:
    """psi: complex64 [M, T, H, W, d] at `frames` (steps); activity: float32 [M, T], over one step, at the same steps;

    ends: the last state of each member; seeds: of the members; broken: seeds whose state did not stay finite, which
    are not among the members; attributes: how the engine computed it.
    """

    psi: Tensor
    activity: Tensor
    ends: list[Checkpoint]
    seeds: list[int]
    broken: list[int]
    frames: list[int]
    attributes: dict[str, Any]


@dataclass
class Keeper:
    """A sink that keeps the frames after step `after`."""

    after: int
    psi: dict[int, np.ndarray[Any, Any]] = field(default_factory=dict)
    activity: dict[int, float] = field(default_factory=dict)
    end: Checkpoint | None = None
    over: Event = field(default_factory=Event)
    heard: float = field(default_factory=monotonic)

    def admitted(self) -> None:
        self.heard = monotonic()

    def frames(self, step: int, fields: Arrays, observables: Mapping[str, float]) -> None:
        self.heard = monotonic()
        if step > self.after:
            self.psi[step], self.activity[step] = fields["psi"], observables["activity"]

    def progress(self, step: int) -> None:
        self.heard = monotonic()

    def checkpoint(self, step: int, arrays: Arrays) -> None:
        self.heard = monotonic()

    def finished(self, step: int, arrays: Arrays) -> None:
        self.end = Checkpoint(step, arrays)
        self.over.set()

    def failed(self, step: int, problem: Problem) -> None:
        self.over.set()

    def released(self) -> None:
        self.over.set()


@contextmanager
def an_engine(engine: Laboratory | None, slots: int) -> Iterator[Laboratory]:
    """`engine`, which its owner has started and stops, or one of our own."""
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
    engine: Laboratory,
    subject: Subject,
    grid: tuple[int, int],
    seeds: Sequence[int],
    *,
    steps: int,
    every: int,
    spin_up: int = 0,
    starts: Sequence[Checkpoint] | None = None,
) -> Trajectories:
    """One member per seed, `steps` steps from its start state or from its checkpoint of `starts`.

    Frames are taken every `every` steps (counted from step 0 of the universe) later than `spin_up` steps after the
    start. Blocks. Raises Problem if the law cannot be run at all.
    """
    record, observe = (Recording(field="psi", every=every),), Observe(every=every, names=("activity",))
    engine.warm(subject.law, subject.precision, grid)
    runs: list[tuple[Run, Keeper]] = []
    for i, seed in enumerate(seeds):
        start = starts[i] if starts else None
        begin = start.step if start else 0
        sink = Keeper(after=begin + spin_up)
        name = f"fidelity-{next(_number)}"
        law, precision, gamma, initial = subject.law, subject.precision, subject.gamma, ComplexNoise()
        run = Run(name, law, precision, grid, begin + steps, gamma, seed, initial, sink, record, observe, start)
        runs.append((run, sink))
    for run, _ in runs:
        engine.submit(run)
    for run, sink in runs:
        _wait(run, sink, runs)
    good = [(run, sink) for run, sink in runs if sink.end is not None]
    if engine.draining:
        raise Problem(503, "The engine is stopping", "an ensemble was released before its end")
    frames = sorted({step for _, sink in good for step in sink.psi}) if starts is None else []
    shape = (0, 0, *grid, subject.law.manifest.d_state)
    psi = [torch.from_numpy(np.stack([sink.psi[step] for step in sorted(sink.psi)])) for _, sink in good if sink.psi]
    activity = [torch.tensor([sink.activity[step] for step in sorted(sink.activity)]) for _, sink in good]
    return Trajectories(
        torch.stack(psi) if psi else torch.zeros(shape, dtype=torch.complex64),
        torch.stack(activity) if activity else torch.zeros(0, 0),
        [sink.end for _, sink in good if sink.end is not None],
        [run.seed for run, _ in good],
        [run.seed for run, sink in runs if sink.end is None],
        frames,
        engine.attributes(runs[0][0]),
    )


def _wait(run: Run, sink: Keeper, runs: list[tuple[Run, Keeper]]) -> None:
    while not sink.over.wait(1.0):
        if monotonic() - max(other.heard for _, other in runs) > SILENCE_S:
            raise TimeoutError(f"{run.id}: nothing heard of any run for {SILENCE_S:.0f} s")
