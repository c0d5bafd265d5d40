"""Defines a Run, which the engine is given: universes to evolve, and the sink of their results.

A run has N members: universes of one law, grid and length that differ in seed, gamma and start state. The engine seats
them in groups whose members step together. A single universe is a run of one member (`Run.one`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from leym.contract.catalog import FIELDS, OBSERVABLES, current_observable
from leym.contract.spec import ComplexNoise, Observe, RandomState, Recording, Seed, Smooth, Zeros
from leym.engine.sink import Sink
from leym.engine.states import Checkpoint, GroupState, Places
from leym.engine.steering import Steering
from leym.laws.bundle import Bundle
from leym.physics import initial
from leym.physics.constraint import Box

DRAWN_TOGETHER = 16  # members whose start states one thread draws
STATE_HASH = "state_hash"  # int64 per universe: equal states have equal hashes
Drawn = ComplexNoise | RandomState | Zeros | Seed | Smooth
Start = Drawn | NDArray[np.complex64]


def initial_state(
    start: Drawn, grid: tuple[int, int], d_state: int, seed: int, constraint: Literal["unit", "none"] | Box = "unit"
) -> NDArray[np.complex64]:
    """Draw the start state that a JobSpec names, for a law with this constraint: complex64 [H, W, d] at step 0."""
    shape = (*grid, d_state)
    match start:
        case ComplexNoise(strength=strength):
            return initial.complex_noise(shape, seed, strength)
        case RandomState() if isinstance(constraint, Box):
            return initial.uniform_in_box(shape, seed, *constraint.box)
        case RandomState():
            return initial.haar_random(shape, seed)
        case Seed():
            return initial.one_living_cell(shape)
        case Smooth(scale=scale, re=re, im=im):
            return initial.smooth(shape, seed, scale, re, im)
        case Zeros():
            return initial.zeros(shape)


@dataclass
class Members:
    """The N universes of a run.

    Attributes:
        seeds: int64 [N].
        gammas: damping per step of members without a schedule, float32 [N].
        starts: the start state of each: a kind to draw, or complex64 [H, W, d].
    """

    seeds: NDArray[np.int64]
    gammas: NDArray[np.float32]
    starts: Sequence[Start]

    def __len__(self) -> int:
        return len(self.seeds)


@dataclass
class Run:
    """Universes to evolve from their starts, or from earlier states, to `steps`.

    Attributes:
        members: the universes.
        resumed: groups of members that continue from a state.
        ended: members that need no slot any more.
        steering: gamma schedules and interventions.
        pending: members that have not begun, int64 [n]; at first those that are neither resumed nor ended.
        priority: 0 to 9, 9 is the most urgent.
        watch: observables, or STATE_HASH, that the sink gets at every recording whether or not they are recorded.
        keep_every: the sink gets a checkpoint at each multiple of it; 0: at no certain step.
        computed_by: set by the engine when the run gets a slot: equal values give equal bits.
        recorded: set by the engine: last step of each member whose frames were delivered, int64 [N]; -1 before the
            first. Prevents duplicates after a retry.
        in_slots: set by the engine: number of members that have slots.
        device_s: set by the engine: seconds of the device so far, by its share of the universes that stepped.
    """

    id: str
    law: Bundle
    precision: str
    grid: tuple[int, int]
    steps: int
    members: Members
    sink: Sink
    record: tuple[Recording, ...] = ()
    observe: Observe | None = None
    priority: int = 4
    watch: tuple[str, ...] = ()
    keep_every: int = 0
    resumed: deque[GroupState] = field(default_factory=deque, repr=False)
    ended: Places = field(default_factory=lambda: np.zeros(0, np.int64), repr=False)
    pending: Places = field(init=False, repr=False)
    steering: Steering = field(default_factory=Steering, repr=False)
    computed_by: dict[str, Any] = field(default_factory=dict, repr=False)
    recorded: NDArray[np.int64] = field(init=False, repr=False)
    in_slots: int = field(default=0, init=False)
    device_s: float = field(default=0.0, init=False)
    _ahead: deque[_Drawn] = field(default_factory=deque, init=False, repr=False)

    def __post_init__(self) -> None:
        self.recorded = np.full(len(self.members), -1, np.int64)
        begun = np.concatenate([self.ended, *(state.places for state in self.resumed)])
        self.pending = np.setdiff1d(np.arange(len(self.members)), begun)

    @classmethod
    def one(
        cls,
        id: str,
        law: Bundle,
        precision: str,
        grid: tuple[int, int],
        steps: int,
        gamma: float,
        seed: int,
        initial: Start,
        sink: Sink,
        record: tuple[Recording, ...] = (),
        observe: Observe | None = None,
        start: Checkpoint | None = None,
        priority: int = 4,
        steering: Steering | None = None,
    ) -> Run:
        """Return a run of one universe.

        Args:
            id: names the run.
            law: the law.
            precision: precision of its weights.
            grid: (H, W) in cells.
            steps: last step.
            gamma: damping per step.
            seed: decides the start state and a stochastic law's draws.
            initial: the start state: a kind to draw, or complex64 [H, W, d].
            sink: receives the results.
            record: fields to record.
            observe: observables to compute.
            start: where to continue; None begins at step 0.
            priority: 0 to 9, 9 is the most urgent.
            steering: its gamma schedule, in the place of `gamma`, and its interventions.
        """
        members = Members(np.array([seed], np.int64), np.array([gamma], np.float32), [initial])
        resumed: deque[GroupState] = deque()
        if start:
            arrays = {name: np.asarray(array)[None] for name, array in start.arrays.items()}
            resumed.append(GroupState(start.step, np.zeros(1, np.int64), arrays))
        run = cls(id, law, precision, grid, steps, members, sink, record, observe, priority, resumed=resumed)
        run.steering = steering or run.steering
        return run

    @property
    def bucket(self) -> BucketKey:
        """The runs that it can share a batch with."""
        return BucketKey(self.law.digest, self.precision, self.grid)

    @property
    def left(self) -> int:
        """Number of members that wait for a slot."""
        return len(self.pending) + sum(len(state.places) for state in self.resumed)

    @property
    def steps_left(self) -> int:
        """Steps that the members without a slot still need, all together."""
        begun = sum((self.steps - state.step) * len(state.places) for state in self.resumed)
        return self.steps * len(self.pending) + begun

    def draw_ahead(self, n: int, executor: Executor) -> None:
        """Let threads draw the states of the next `n` members that have not begun, so that `draw` need not."""
        drawn = sum(len(ahead.places) for ahead in self._ahead)
        for first in range(drawn, min(n, len(self.pending)), DRAWN_TOGETHER):
            places = self.pending[first : first + DRAWN_TOGETHER]
            self._ahead.append(_Drawn(places, executor.submit(self._draw, places)))

    def draw(self, places: Places) -> NDArray[np.float32]:
        """Return the states of members at step 0: float32 [n, H, W, 2d], real parts first, as in a batch's memory."""
        parts, left = [], places
        while len(left) and self._ahead:
            ahead = self._ahead.popleft()
            n = min(len(left), len(ahead.places))
            if not np.array_equal(ahead.places[:n], left[:n]):  # members were dropped, or wait again
                self._ahead.clear()
                break
            parts.append(ahead.states.result()[ahead.first : ahead.first + n])
            left = left[n:]
            if n < len(ahead.places):
                self._ahead.appendleft(_Drawn(ahead.places[n:], ahead.states, ahead.first + n))
        if len(left):
            parts.append(self._draw(left))
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _draw(self, places: Places) -> NDArray[np.float32]:
        seeds, starts = self.members.seeds[places].tolist(), [self.members.starts[place] for place in places.tolist()]
        shape, constraint = (*self.grid, self.law.manifest.d_state), self.law.manifest.constraint
        noise = [i for i, start in enumerate(starts) if isinstance(start, ComplexNoise)]
        strengths = [start.strength for start in starts if isinstance(start, ComplexNoise)]
        drawn = initial.complex_noises(shape, [seeds[i] for i in noise], strengths)
        if len(noise) == len(starts):
            return drawn
        found = np.empty((len(starts), *shape[:-1], 2 * shape[-1]), np.float32)
        found[noise] = drawn
        for parts, start, seed in zip(found, starts, seeds, strict=True):
            if isinstance(start, ComplexNoise):
                continue
            given = isinstance(start, np.ndarray)
            psi = start if given else initial_state(start, self.grid, shape[-1], seed, constraint)
            np.concatenate([psi.real, psi.imag], axis=-1, out=parts)
        return found

    def take(self, most: int) -> GroupState:
        """Take members that wait for a slot: those of one resumed group, or up to `most` that have not begun."""
        if self.resumed:
            state = self.resumed.popleft()
            if len(state.places) > most:
                self.resumed.appendleft(state.of(np.arange(most, len(state.places))))
                state = state.of(np.arange(most))
            return state
        places, self.pending = self.pending[:most], self.pending[most:]
        return GroupState(0, places, {})

    def put_back(self, state: GroupState) -> None:
        """Let members wait for a slot again, to continue from a state."""
        if state.arrays:
            self.resumed.append(state)
        else:
            self.pending = np.union1d(state.places, self.pending)

    def unfinished(self) -> Places:
        """Return the members that wait for a slot: int64 [n], increasing."""
        return np.sort(np.concatenate([self.pending, *(state.places for state in self.resumed)]))

    def drop(self, places: Places) -> None:
        """Forget members that wait for a slot."""
        self.pending = np.setdiff1d(self.pending, places)
        kept = (state.of(~np.isin(state.places, places)) for state in self.resumed)
        self.resumed = deque(state for state in kept if len(state.places))

    def next_event(self, step: int) -> int:
        """Return the first step after `step` at which something is recorded, kept or changed, or the last step."""
        every = [r.every for r in self.record] + ([self.observe.every] if self.observe else [])
        every += [self.keep_every] if self.keep_every else []
        return min([(step // n + 1) * n for n in every] + [self.steering.next_after(step, self.steps)])

    def gammas(self, places: Places, step: int) -> NDArray[np.float32]:
        """Return the gamma of members for the step from `step` to `step` + 1: float32 [n]."""
        return self.steering.gammas(self.members.gammas, places, step)

    def keeps(self, step: int) -> bool:
        """Return whether a checkpoint is due at a step whatever the time."""
        return self.keep_every > 0 and step % self.keep_every == 0

    def due(self, step: int) -> tuple[list[Recording], tuple[str, ...]]:
        """Return the recordings and the names of the observables that are due at a step."""
        names = self.observe.names if self.observe and step % self.observe.every == 0 else ()
        recordings = [r for r in self.record if step % r.every == 0]
        if recordings or names:
            names += tuple(name for name in self.watch if name not in names)
        return recordings, names

    def needs_previous(self, step: int) -> bool:
        """Return whether anything due at a step compares it with the step before."""
        recordings, names = self.due(step)
        compared = any(name in OBSERVABLES and OBSERVABLES[name].compares for name in names)
        return compared or any(FIELDS[r.field].compares for r in recordings)

    @property
    def needs_origin(self) -> bool:
        """True if an observable compares states with those at step 0."""
        names = (*(self.observe.names if self.observe else ()), *self.watch)
        return any(current_observable(name) == "overlap" for name in names)


@dataclass(frozen=True)
class _Drawn:
    """Start states of members that a thread draws: row `first` of the states is that of the first of the places."""

    places: Places
    states: Future[NDArray[np.float32]]
    first: int = 0


@dataclass(frozen=True)
class BucketKey:
    """Identifies runs that can share a batch: same weights (by digest), precision and grid."""

    law: str
    precision: str
    grid: tuple[int, int]
