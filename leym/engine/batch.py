"""A batch: the slots of one bucket that step together, at one static shape (the rung).

A universe's bits depend on the rung and on nothing else in the batch: not on its slot, nor on who sits in the others.
Empty slots are stepped too and thrown away.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

import numpy as np
import torch
from numpy.typing import NDArray

from leym.engine.run import BucketKey, Checkpoint, Run
from leym.engine.stepper import AwakeLaw
from leym.engine.stream import Stream
from leym.physics.step import to_complex, to_real


@dataclass
class Slot:
    """A seat in a batch. step: where its universe is, once the device has done what it was given; joined: where it was
    when it took the seat; level: how urgent it was then (`leym.engine.schedule`); over: nothing more is told of it."""

    index: int
    run: Run
    step: int
    joined: int
    checkpointed: float
    level: int = 0
    reported: float = 0.0
    over: bool = False


class Batch:
    """`rung` slots on the device.

    state, previous, origin: float32 [rung, 2d, H, W]; memory: float32 [rung, …], empty for most laws; gamma
    [rung, 1, 1, 1]; seed, clock, good: int64 [rung].
    """

    def __init__(self, law: AwakeLaw, key: BucketKey, rung: int):
        """Raises torch.OutOfMemoryError."""
        self.law, self.key, self.grid, self.rung = law, key, key.grid, rung
        shape = (rung, 2 * law.bundle.manifest.d_state, *key.grid)
        device = law.device.torch
        self.state, self.previous, self.origin = (
            torch.zeros(shape, device=device).to(memory_format=torch.channels_last) for _ in range(3)
        )
        self.gamma = torch.zeros(rung, 1, 1, 1, device=device)
        self.memory = torch.zeros((rung, *law.memory_shape(key.grid)), device=device)
        self.seed, self.clock, self.good = (torch.zeros(rung, dtype=torch.int64, device=device) for _ in range(3))
        self.bursts = law.bursts(*self._stepped)
        self.slots: list[Slot | None] = [None] * rung
        self.step_s = 0.0  # seconds per step, a running mean
        self.charged_s = 0.0  # device time taken over the share of it that is its due

    @property
    def active(self) -> list[Slot]:
        return [slot for slot in self.slots if slot is not None]

    @property
    def free(self) -> int:
        return self.slots.count(None)

    @torch.no_grad()
    def admit(self, run: Run, level: int = 0) -> Slot:
        """Seat a run in a free slot, at its checkpoint or at its start."""
        index = self.slots.index(None)
        step = run.start.step if run.start else 0
        psi = run.start.arrays["psi"] if run.start else run.origin
        self.state[index] = self._on_device(psi)
        self.origin[index] = self._on_device(run.origin)
        self.memory[index] = 0
        if run.start and self.memory.numel():
            self.memory[index] = torch.from_numpy(np.array(run.start.arrays["memory"]))
        self.seed[index], self.clock[index] = run.seed, step
        self.gamma[index] = run.gamma
        self.good[index] = 0
        slot = self.slots[index] = Slot(index, run, step, step, checkpointed=monotonic(), level=level)
        return slot

    def leave(self, slot: Slot) -> None:
        self.slots[slot.index] = None
        self.state[slot.index] = 0
        self.memory[slot.index] = 0

    @property
    def _stepped(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        return self.state, self.memory, self.gamma, self.seed, self.clock, self.good

    @torch.no_grad()
    def warm(self) -> None:
        """Make the step ready for this shape; changes what is in the batch. Raises torch.OutOfMemoryError."""
        self.law.warm(*self._stepped)
        self.bursts.capture()

    @torch.no_grad()
    def move(self, slot: Slot, other: Batch) -> None:
        """Carry a universe, mid-run, to a free slot of another batch of the same bucket."""
        index = other.slots.index(None)
        for name in ("state", "memory", "origin", "gamma", "seed", "clock", "good"):
            getattr(other, name)[index] = getattr(self, name)[slot.index]
        self.leave(slot)
        slot.index = index
        other.slots[index] = slot

    def burst_length(self, burst_s: float) -> int:
        """Steps to the nearest event of any slot, but no longer than `burst_s`, so that a waiting run gets in."""
        until_event = min(slot.run.next_event(slot.step) - slot.step for slot in self.active)
        return min(until_event, max(1, int(burst_s / self.step_s))) if self.step_s else 1

    @torch.no_grad()
    def advance(self, k: int) -> None:
        """k steps of every slot, whose states are finite or not: `good` counts.

        The state before the last step is kept where a recording compares with it.
        """
        keep = any(slot.run.needs_previous(slot.step + k) for slot in self.active)
        if keep:
            self.bursts.advance(k - 1)
            self.previous.copy_(self.state)
        self.bursts.advance(1 if keep else k)
        for slot in self.active:
            slot.step += k

    def took(self, k: int, seconds: float) -> None:
        """The device needed so long for k steps."""
        self.step_s = seconds / k if not self.step_s else 0.8 * self.step_s + 0.2 * seconds / k

    @torch.no_grad()
    def checkpoint(self, slot: Slot, stream: Stream) -> Callable[[], Checkpoint]:
        """The slot's state as it is once the device has come here."""
        i, step = slot.index, slot.step
        tensors = [to_complex(self.state[i : i + 1])[0]]
        if self.memory.numel():
            tensors.append(self.memory[i].clone())
        arrays = stream.fetch(tensors)
        return lambda: Checkpoint(step, dict(zip(("psi", "memory"), arrays(), strict=False)))

    def _on_device(self, psi: NDArray[np.complex64]) -> torch.Tensor:
        return to_real(torch.from_numpy(np.array(psi, np.complex64))[None])[0].to(self.law.device.torch)
