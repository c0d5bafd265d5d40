"""A batch: the slots of one bucket that step together, at one static shape.

The bits of a universe depend on the batch size and on nothing else in the batch: neither on its slot nor on the
universes in the others. Fused kernels skip empty slots; a compiled step steps them too, and the result is discarded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from leym.engine.device_stream import DeviceStream
from leym.engine.run import BucketKey, Run
from leym.engine.states import GroupState, Places, span
from leym.engine.step.batch_tensors import BatchTensors
from leym.engine.step.resident_law import ResidentLaw
from leym.physics.step import to_complex, to_real

Rows = slice | Tensor  # rows of a batch, as an index of its tensors


@dataclass(eq=False)
class Group:
    """Members of one run that sit in one batch and are always at the same step.

    Attributes:
        batch: the batch, or the last one.
        places: which members they are, int64 [n].
        rows: their rows of the batch's tensors, int64 [n].
        step: their step once the device has done everything queued so far.
        joined_at: their step when they took their slots.
        checkpointed: time of the last checkpoint, monotonic seconds.
        level: urgency when they took their slots (`leym.engine.scheduler`).
        saved: the last state that was delivered, or with which they took their slots.
        reported: time of the last progress report, monotonic seconds.
        closed: no further result is delivered.
    """

    run: Run
    batch: Batch
    places: Places
    rows: NDArray[np.int64]
    step: int
    joined_at: int
    checkpointed: float
    level: int = 0
    saved: GroupState | None = None
    reported: float = 0.0
    closed: bool = False


class Batch:
    """`size` slots on the device.

    Attributes:
        tensors: the rows that a step updates in place.
        previous: float32 [size, 2d, H, W], the states before the last step.
        origin: float32 [size, 2d, H, W], the states at step 0, of runs that compare with them.
        runner: runs steps of `tensors`.
        groups: the groups in the slots.
        busy: number of occupied slots.
        step_s: seconds per step, a running mean; 0 before the first burst.
        charged_s: device time used, divided by the batch's share of the device (stride scheduling).
    """

    def __init__(self, law: ResidentLaw, key: BucketKey, size: int):
        """Allocate an empty batch.

        Raises:
            torch.OutOfMemoryError: the device has no room for it.
        """
        self.law, self.key, self.grid, self.size = law, key, key.grid, size
        channels, device = 2 * law.bundle.manifest.d_state, law.device.torch
        self.tensors = BatchTensors.empty(size, channels, key.grid, law.memory_shape(key.grid), device)
        self.previous, self.origin = torch.zeros_like(self.state), torch.zeros_like(self.state)
        self.runner = law.runner(self.tensors)
        self.groups: list[Group] = []
        self.busy = 0
        self._taken = np.zeros(size, bool)
        self.step_s = 0.0
        self.charged_s = 0.0

    @property
    def state(self) -> Tensor:
        """float32 [size, 2d, H, W]."""
        return self.tensors.state

    @property
    def free(self) -> int:
        """Number of empty slots."""
        return self.size - self.busy

    @property
    def bytes_per_member(self) -> int:
        """Size of the state of one universe in bytes."""
        return self.state[0].nbytes + self.tensors.memory[0].nbytes

    def index(self, rows: NDArray[np.int64]) -> Rows:
        """Return rows, in any order, as an index of the batch's tensors: a slice where they follow each other."""
        found = span(rows)
        return found if isinstance(found, slice) else torch.from_numpy(found).to(self.state.device)

    @torch.no_grad()
    def admit(self, run: Run, most: int | None = None, level: int = 0) -> Group:
        """Seat members of a run in free slots, at their state or at their start; `most` limits their number."""
        begun = run.take(self.free if most is None else min(most, self.free))
        n, places, device, tensors = len(begun.places), begun.places, self.state.device, self.tensors
        taken = np.flatnonzero(~self._taken)[:n]
        rows = self.index(taken)
        origin = None
        if not begun.arrays or run.needs_origin:
            origin = torch.from_numpy(run.draw(places)).permute(0, 3, 1, 2).to(device)
        tensors.state[rows] = _real(begun.arrays["psi"]).to(device) if begun.arrays else origin  # type: ignore[assignment]
        if run.needs_origin:
            self.origin[rows] = origin  # type: ignore[assignment]
        if tensors.memory.numel():
            tensors.memory[rows] = torch.from_numpy(np.array(begun.arrays["memory"])).to(device) if begun.arrays else 0
        tensors.seed[rows] = torch.from_numpy(run.members.seeds[places]).to(device)
        tensors.gamma[rows] = torch.from_numpy(run.gammas(places, begun.step)).to(device).view(-1, 1, 1, 1)
        tensors.clock[rows], tensors.good[rows], tensors.occupied[rows] = begun.step, 0, 1
        self._taken[taken] = True
        self.busy += n
        run.in_slots += n
        saved = begun if begun.arrays else None
        group = Group(run, self, places, taken, begun.step, begun.step, monotonic(), level, saved)
        self.groups.append(group)
        return group

    @torch.no_grad()
    def leave(self, group: Group, chosen: NDArray[np.bool_] | None = None) -> None:
        """Empty the slots of a group, or of the members `chosen`, bool [n]; what is left in them has no meaning."""
        leaving = group.rows if chosen is None else group.rows[chosen]
        if not len(leaving):
            return
        self.tensors.occupied[self.index(leaving)] = 0
        self._taken[leaving] = False
        self.busy -= len(leaving)
        group.run.in_slots -= len(leaving)
        if len(leaving) == len(group.rows):
            self.groups.remove(group)
        else:
            group.rows, group.places = group.rows[~chosen], group.places[~chosen]  # type: ignore[operator]

    @torch.no_grad()
    def warm(self) -> None:
        """Compile the step for this shape and capture it; changes what is in the batch.

        Raises:
            torch.OutOfMemoryError: the device has no room for a step.
        """
        self.law.warm(self.tensors)
        self.runner.capture()

    @torch.no_grad()
    def move(self, group: Group, other: Batch) -> None:
        """Carry a group, mid-run, to free slots of another batch of the same bucket, which must have enough."""
        taken = np.flatnonzero(~other._taken)[: len(group.rows)]
        here, there = self.index(group.rows), other.index(taken)
        for source, target in zip((*self.tensors, self.origin), (*other.tensors, other.origin), strict=True):
            target[there] = source[here]
        self.leave(group)
        group.batch, group.rows = other, taken
        other._taken[taken] = True
        other.busy += len(taken)
        group.run.in_slots += len(taken)
        other.groups.append(group)

    def burst_length(self, burst_s: float) -> int:
        """Return the steps to the nearest event of any group, but no more than fit into `burst_s` seconds.

        The bound lets a waiting run in soon. Before the first burst, whose duration is unknown, it is one step.
        """
        until_event = min(group.run.next_event(group.step) - group.step for group in self.groups)
        return min(until_event, max(1, int(burst_s / self.step_s))) if self.step_s else 1

    @torch.no_grad()
    def advance(self, steps: int) -> None:
        """Queue steps of every slot, whether their states stay finite or not: `tensors.good` counts the finite ones.

        Gammas and states that change at the present step are changed first. Where a recording compares the last step
        with the one before, that state is kept in `previous`.
        """
        for group in self.groups:
            if group.run.steering.acts_at(group.step):
                self._steer(group)
        keep = any(group.run.needs_previous(group.step + steps) for group in self.groups)
        if keep:
            self.runner.run(steps - 1)
            self.previous.copy_(self.state)
        self.runner.run(1 if keep else steps)
        for group in self.groups:
            group.step += steps

    def measured(self, steps: int, seconds: float) -> None:
        """Update `step_s` with the device time of a burst."""
        self.step_s = seconds / steps if not self.step_s else 0.8 * self.step_s + 0.2 * seconds / steps

    @torch.no_grad()
    def checkpoint(self, group: Group, stream: DeviceStream) -> Callable[[], GroupState]:
        """Start copying the states of a group to the host; the returned function blocks until they are there."""
        rows, step, places = self.index(group.rows), group.step, group.places
        tensors = [to_complex(self.state[rows])]
        if self.tensors.memory.numel():
            tensors.append(self.tensors.memory[rows].clone())
        arrays = stream.fetch(tensors)
        return lambda: GroupState(step, places, dict(zip(("psi", "memory"), arrays(), strict=False)))

    def _steer(self, group: Group) -> None:
        """Change what changes at the present step of a group."""
        run, rows, tensors = group.run, self.index(group.rows), self.tensors
        gammas = run.gammas(group.places, group.step)
        tensors.gamma[rows] = torch.from_numpy(gammas).to(tensors.gamma.device).view(-1, 1, 1, 1)
        seeds, manifest = run.members.seeds[group.places], self.law.bundle.manifest
        tensors.state[rows] = run.steering.intervene(tensors.state[rows], seeds, group.step, manifest)


def _real(psi: NDArray[Any]) -> Tensor:
    return to_real(torch.from_numpy(np.ascontiguousarray(psi, np.complex64)))
