"""Defines a Run, which the engine is given, and a Sink, which receives its results."""

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
    """State from which a run continues at a step, bit for bit.

    Attributes:
        step: the step.
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
    """Receives the results of one run, in order, from the dispatcher's threads; it may block, the engine goes on.

    It handles its own errors; to stop the run it calls `Engine.cancel`.
    """

    def admitted(self) -> None:
        """Note that the run has a slot."""

    def frames(self, step: int, fields: Arrays, observables: Mapping[str, float]) -> None:
        """Take everything recorded at one step: fields [H, W] or [H, W, d] in their stored dtype, and observables."""

    def progress(self, step: int) -> None:
        """Note that the run has reached a step; called a few times a second at most."""

    def checkpoint(self, step: int, arrays: Arrays) -> None:
        """Take the state at a step; all frames up to it have been delivered."""

    def finished(self, step: int, arrays: Arrays) -> None:
        """Take the last state; nothing follows."""

    def failed(self, step: int, problem: Problem) -> None:
        """Note that the run cannot continue after `step`, whose frames have been delivered; nothing follows."""

    def released(self) -> None:
        """Note that the engine drains: a checkpoint has been delivered if the run had a slot; nothing follows."""


@dataclass
class Run:
    """One universe to evolve from `start`, or from its beginning, to `steps`.

    Attributes:
        initial: the start state: a kind to draw, or complex64 [H, W, d].
        start: where to continue; None begins at step 0.
        priority: 0 to 9, 9 is the most urgent.
        computed_by: set by the engine when the run gets a slot: equal values give equal bits.
        recorded: set by the engine: last step whose frames were delivered; prevents duplicates after a retry.
        saved: set by the engine: last checkpoint that was delivered.
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
    computed_by: dict[str, Any] = field(default_factory=dict, repr=False)
    recorded: int = -1
    saved: Checkpoint | None = field(default=None, repr=False)
    _origin: NDArray[np.complex64] | None = field(default=None, repr=False)

    @property
    def bucket(self) -> BucketKey:
        """The runs that it can share a batch with."""
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
        """Return the first step after `step` at which something is recorded, or the last step of the run."""
        every = [r.every for r in self.record] + ([self.observe.every] if self.observe else [])
        return min([(step // n + 1) * n for n in every] + [self.steps])

    def due(self, step: int) -> tuple[list[Recording], tuple[str, ...]]:
        """Return the recordings and the names of the observables that are due at a step."""
        names = self.observe.names if self.observe and step % self.observe.every == 0 else ()
        return [r for r in self.record if step % r.every == 0], names

    def needs_previous(self, step: int) -> bool:
        """Return whether anything due at a step compares it with the step before."""
        recordings, names = self.due(step)
        return any(r.field == "activity" for r in recordings) or any(name.startswith("activity") for name in names)


@dataclass(frozen=True)
class BucketKey:
    """Identifies runs that can share a batch: same weights (by digest), precision and grid."""

    law: str
    precision: str
    grid: tuple[int, int]
