"""Runs ensembles of universes through the real engine, in the batches, bits and precision that jobs get.

The frames stay in memory.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from threading import Event
from time import monotonic
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from leym.contract.problems import Problem
from leym.contract.spec import Observe, Recording
from leym.engine.engine import Engine
from leym.engine.run import Members, Run
from leym.engine.states import Arrays, Checkpoint, GroupState, Places
from leym.laws.bundle import Bundle
from leym.physics.constraint import Box
from leym.physics.reference import beside_reference
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
        attributes: how the engine computed the run.
        constraint: of the law.
    """

    psi: Tensor
    activity: Tensor
    ends: list[Checkpoint]
    seeds: list[int]
    broken: list[int]
    frames: list[int]
    attributes: dict[str, Any]
    constraint: Literal["unit", "none"] | Box = "unit"

    @cached_property
    def cells(self) -> Tensor:
        """The frames as the suite measures them: complex64 [M, T, H, W, d or d + 1]; see `beside_reference`."""
        return beside_reference(self.psi, self.constraint)


class EnsembleSink:
    """A sink of a whole ensemble that keeps the frames after step `after` in memory.

    Args:
        members: N, the members of the run.
        after: a step.

    Attributes:
        psi: states by step, complex64 [N, H, W, d]; undefined for members that have not recorded the step.
        activity: by step, float32 [N].
        ends: the last state of each member that has finished, by its place.
        over: set when every member has finished or failed, or the engine has let the run go.
        last_news: time of the last call, monotonic seconds.
    """

    def __init__(self, members: int, after: int):
        self._members, self._after = members, after
        self.psi: dict[int, NDArray[np.complex64]] = {}
        self.activity: dict[int, NDArray[np.float32]] = {}
        self.ends: dict[int, Checkpoint] = {}
        self.over = Event()
        self.last_news = monotonic()
        self._going = members

    def admitted(self) -> None:
        """Note that members have slots."""
        self.last_news = monotonic()

    def frames(self, step: int, places: Places, fields: Arrays, observables: Arrays) -> None:
        """Keep the states and the activity of a step."""
        self.last_news = monotonic()
        if step <= self._after:
            return
        if step not in self.psi:  # not earlier: memory for a long run is taken as it goes
            self.psi[step] = np.empty((self._members, *fields["psi"].shape[1:]), np.complex64)
            self.activity[step] = np.empty(self._members, np.float32)
        self.psi[step][places], self.activity[step][places] = fields["psi"], observables["activity"]

    def progress(self, step: int, places: Places) -> None:
        """Note that members advance."""
        self.last_news = monotonic()

    def checkpoint(self, state: GroupState) -> None:
        """Note that members advance; the checkpoint is not kept."""
        self.last_news = monotonic()

    def finished(self, state: GroupState) -> None:
        """Keep the last states."""
        for i, place in enumerate(state.places.tolist()):
            self.ends[place] = Checkpoint(state.step, {name: array[i] for name, array in state.arrays.items()})
        self._end(len(state.places))

    def failed(self, step: int, places: Places, problem: Problem) -> None:
        """Leave members without a last state: they did not stay finite."""
        self._end(len(places))

    def released(self) -> None:
        """End without the last states: the engine has let the run go."""
        self.over.set()

    def _end(self, members: int) -> None:
        self.last_news = monotonic()
        self._going -= members
        if self._going <= 0:
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
    """Run an ensemble to its end, one member per seed: one run of the engine, whose members share batches.

    Args:
        engine: runs the universes.
        subject: the law, its precision and gamma.
        grid: (H, W) in cells.
        seeds: one per member.
        steps: steps of each member from its start.
        every: steps between two frames, counted from step 0 of the universe.
        spin_up: steps after the start without frames.
        starts: a checkpoint per member to start from, all at one step; without them members start at step 0 from
            what suits the law.

    Raises:
        ValueError: the starts are at different steps.
        Problem: the law cannot be run at all, or the engine stops.
        TimeoutError: the engine has sent no news of the run for `SILENCE_S`.
    """
    record, observe = (Recording(field="psi", every=every),), Observe(every=every, names=("activity",))
    engine.warm(subject.law, subject.precision, grid)
    n, first = len(seeds), _common_step(starts) if starts else 0
    sink = EnsembleSink(n, after=first + spin_up)
    gammas, initial = np.full(n, subject.gamma, np.float32), subject.law.manifest.default_start
    members = Members(np.array(seeds, np.int64), gammas, [initial] * n)
    run = Run(
        f"fidelity-{next(_run_numbers)}",
        subject.law,
        subject.precision,
        grid,
        first + steps,
        members,
        sink,
        record,
        observe,
        resumed=deque([_group(starts)] if starts else []),
    )
    engine.submit(run)
    while not sink.over.wait(1.0):
        if monotonic() - sink.last_news > SILENCE_S:
            raise TimeoutError(f"{run.id}: the engine has sent no news of the run for {SILENCE_S:.0f} s")
    if engine.draining:
        raise Problem(503, "The engine is stopping", "an ensemble was released before its end")
    finished = sorted(sink.ends)
    frames = sorted(sink.psi) if finished else []
    psi = np.empty((len(finished), len(frames), *grid, subject.law.manifest.d_state), np.complex64)
    activity = np.empty((len(finished), len(frames)), np.float32)
    for column, step in enumerate(frames):
        psi[:, column], activity[:, column] = sink.psi.pop(step)[finished], sink.activity.pop(step)[finished]
    return Trajectories(
        torch.from_numpy(psi),
        torch.from_numpy(activity),
        [sink.ends[place] for place in finished],
        [seeds[place] for place in finished],
        [seed for place, seed in enumerate(seeds) if place not in sink.ends],
        frames if starts is None else [],
        engine.attributes(run),
        subject.law.manifest.constraint,
    )


def _common_step(starts: Sequence[Checkpoint]) -> int:
    """Return the step of all starts, which one run continues together."""
    steps = {start.step for start in starts}
    if len(steps) > 1:
        raise ValueError(f"the starts of an ensemble are at steps {sorted(steps)}: expected one step")
    return steps.pop()


def _group(starts: Sequence[Checkpoint]) -> GroupState:
    arrays = {name: np.stack([start.arrays[name] for start in starts]) for name in starts[0].arrays}
    return GroupState(starts[0].step, np.arange(len(starts)), arrays)
