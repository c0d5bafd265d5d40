"""A batch: the slots of one bucket that step together, at one static shape (the rung).

A universe's bits depend on the rung and on nothing else in the batch: not on its slot, nor on who sits in the others.
Empty slots are passed over by the fused kernels; a compiled step steps them too, and what comes of it is thrown away.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

import numpy as np
import torch
from numpy.typing import NDArray

from leym.engine.device_stream import Stream
from leym.engine.run import BucketKey, Checkpoint, Run
from leym.engine.step.batch_tensors import BatchTensors
from leym.engine.step.resident_law import ResidentLaw
from leym.physics.step import to_complex, to_real


@dataclass
class Slot:
    """A seat in a batch. step: where its universe is, once the device has done what it was given; joined: where it was
    when it took the seat; level: how urgent it was then (`leym.engine.scheduler`); over: nothing more is told of it."""

    index: int
    run: Run
    step: int
    joined: int
    checkpointed: float
    level: int = 0
    reported: float = 0.0
    over: bool = False


class Batch:
    """`rung` slots on the device: their lanes, and float32 [rung, 2d, H, W] each the states before the last step
    (`previous`) and at the beginning (`origin`)."""

    def __init__(self, law: ResidentLaw, key: BucketKey, rung: int):
        """Raises torch.OutOfMemoryError."""
        self.law, self.key, self.grid, self.rung = law, key, key.grid, rung
        channels, device = 2 * law.bundle.manifest.d_state, law.device.torch
        self.lanes = BatchTensors.empty(rung, channels, key.grid, law.memory_shape(key.grid), device)
        self.previous, self.origin = torch.zeros_like(self.state), torch.zeros_like(self.state)
        self.bursts = law.bursts(self.lanes)
        self.slots: list[Slot | None] = [None] * rung
        self.step_s = 0.0  # seconds per step, a running mean
        self.charged_s = 0.0  # device time taken over the share of it that is its due

    @property
    def state(self) -> torch.Tensor:
        return self.lanes.state

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
        lanes = self.lanes
        lanes.state[index] = self._on_device(psi)
        self.origin[index] = self._on_device(run.origin)
        lanes.memory[index] = 0
        if run.start and lanes.memory.numel():
            lanes.memory[index] = torch.from_numpy(np.array(run.start.arrays["memory"]))
        lanes.seed[index], lanes.clock[index] = run.seed, step
        lanes.gamma[index] = run.gamma
        lanes.good[index], lanes.taken[index] = 0, 1
        slot = self.slots[index] = Slot(index, run, step, step, checkpointed=monotonic(), level=level)
        return slot

    def leave(self, slot: Slot) -> None:
        self.slots[slot.index] = None
        for tensor in (self.lanes.state, self.lanes.memory, self.lanes.taken):
            tensor[slot.index] = 0

    @torch.no_grad()
    def warm(self) -> None:
        """Make the step ready for this shape; changes what is in the batch. Raises torch.OutOfMemoryError."""
        self.law.warm(self.lanes)
        self.bursts.capture()

    @torch.no_grad()
    def move(self, slot: Slot, other: Batch) -> None:
        """Carry a universe, mid-run, to a free slot of another batch of the same bucket."""
        index = other.slots.index(None)
        for here, there in zip((*self.lanes, self.origin), (*other.lanes, other.origin), strict=True):
            there[index] = here[slot.index]
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
        if self.lanes.memory.numel():
            tensors.append(self.lanes.memory[i].clone())
        arrays = stream.fetch(tensors)
        return lambda: Checkpoint(step, dict(zip(("psi", "memory"), arrays(), strict=False)))

    def _on_device(self, psi: NDArray[np.complex64]) -> torch.Tensor:
        return to_real(torch.from_numpy(np.array(psi, np.complex64))[None])[0].to(self.law.device.torch)
