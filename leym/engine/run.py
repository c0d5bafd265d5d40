"""What the engine is given and what it gives back: a Run, and the Sink that receives its results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from leym.contract.problems import Problem
from leym.contract.spec import ComplexNoise, Observe, RandomState, Recording, Zeros
from leym.laws.bundle import Bundle
from leym.physics import initial

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Checkpoint:
    """All that is needed to go on from a step, bit for bit.

    arrays: "psi" complex64 [H, W, d]; "memory" float32 [M, H/4, W/4] of a law that has one.
    """

    step: int
    arrays: Arrays


def initial_state(
    start: ComplexNoise | RandomState | Zeros, grid: tuple[int, int], d_state: int, seed: int
) -> NDArray[np.complex64]:
    """Draw the start state that a JobSpec names: complex64 [H, W, d] at step 0."""
    shape = (*grid, d_state)
    match start:
        case ComplexNoise(strength=strength):
            return initial.complex_noise(shape, seed, strength)
        case RandomState():
            return initial.haar_random(shape, seed)
        case Zeros():
            return initial.zeros(shape)


class Sink(Protocol):
    """Receives one run's results, in order, from the courier's threads: it may block without holding up the engine.

    It handles its own errors; to stop the run it calls `Engine.cancel`.
    """

    def admitted(self) -> None:
        """The run has a slot."""

    def frames(self, step: int, fields: Arrays, observables: Mapping[str, float]) -> None:
        """Everything recorded at one step: fields [H, W] or [H, W, d] in their stored dtype, and numbers."""

    def progress(self, step: int) -> None:
        """The run has reached a step (a few times a second at most)."""

    def checkpoint(self, step: int, arrays: Arrays) -> None:
        """The state at a step; all frames up to it have been delivered."""

    def finished(self, step: int, arrays: Arrays) -> None:
        """The last state."""

    def failed(self, step: int, problem: Problem) -> None:
        """The run cannot go on; `step` is the last good one, and its frames have been delivered."""

    def released(self) -> None:
        """The engine is draining: a checkpoint was delivered if the run had a slot, and nothing more will come."""


@dataclass
class Run:
    """One universe to evolve from `start` (or its beginning) to `steps`.

    Initial: a kind to draw, or complex64 [H, W, d].
    """

    id: str
    law: Bundle
    precision: str
    grid: tuple[int, int]
    steps: int
    gamma: float
    seed: int
    initial: ComplexNoise | RandomState | Zeros | NDArray[np.complex64]
    sink: Sink
    record: tuple[Recording, ...] = ()
    observe: Observe | None = None
    start: Checkpoint | None = None
    priority: int = 4
    computed_by: dict[str, Any] = field(default_factory=dict, repr=False)  # the engine's, from its slot on
    recorded: int = -1  # the engine's: the last step told of, for what is stepped twice is told once
    saved: Checkpoint | None = field(default=None, repr=False)  # the engine's: the last one told of
    _origin: NDArray[np.complex64] | None = field(default=None, repr=False)

    @property
    def bucket(self) -> BucketKey:
        return BucketKey(self.law.digest, self.precision, self.grid)

    @property
    def origin(self) -> NDArray[np.complex64]:
        """The state at step 0, complex64 [H, W, d]."""
        if self._origin is None:
            if isinstance(self.initial, np.ndarray):
                self._origin = np.ascontiguousarray(self.initial, np.complex64)
            else:
                self._origin = initial_state(self.initial, self.grid, self.law.manifest.d_state, self.seed)
        return self._origin

    def next_event(self, step: int) -> int:
        """The first step after `step` at which something is recorded, or the last step."""
        every = [r.every for r in self.record] + ([self.observe.every] if self.observe else [])
        return min([(step // n + 1) * n for n in every] + [self.steps])

    def due(self, step: int) -> tuple[list[Recording], tuple[str, ...]]:
        """The recordings and observables of a step."""
        names = self.observe.names if self.observe and step % self.observe.every == 0 else ()
        return [r for r in self.record if step % r.every == 0], names

    def needs_previous(self, step: int) -> bool:
        """Whether what is recorded at a step compares it with the step before."""
        recordings, names = self.due(step)
        return any(r.field == "activity" for r in recordings) or any(name.startswith("activity") for name in names)


@dataclass(frozen=True)
class BucketKey:
    """Runs that can share a batch: same weights in the same precision on the same grid."""

    law: str
    precision: str
    grid: tuple[int, int]
