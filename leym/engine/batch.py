"""A batch: the slots of one bucket that step together, at one static shape.

The bits of a universe depend on the batch size and on nothing else in the batch: neither on its slot nor on the
universes in the others. Fused kernels skip empty slots; a compiled step steps them too, and the result is discarded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

import numpy as np
import torch
from numpy.typing import NDArray

from leym.engine.device_stream import DeviceStream
from leym.engine.run import BucketKey, Checkpoint, Run
from leym.engine.step.batch_tensors import BatchTensors
from leym.engine.step.resident_law import ResidentLaw
from leym.physics.step import to_complex, to_real


@dataclass
class Slot:
    """A seat in a batch and the run that sits in it.

    Attributes:
        index: row of the batch's tensors.
        step: step of the universe once the device has done everything queued so far.
        joined_at: step of the universe when it took the slot.
        checkpointed: time of its last checkpoint, monotonic seconds.
        level: urgency when it took the slot (`leym.engine.scheduler`).
        reported: time of its last progress report, monotonic seconds.
        closed: no further result of this slot is delivered.
    """

    index: int
    run: Run
    step: int
    joined_at: int
    checkpointed: float
    level: int = 0
    reported: float = 0.0
    closed: bool = False


class Batch:
    """`size` slots on the device.

    Attributes:
        tensors: the rows that a step updates in place.
        previous: float32 [size, 2d, H, W], the states before the last step.
        origin: float32 [size, 2d, H, W], the states at step 0.
        runner: runs steps of `tensors`.
        slots: the seats; None where one is empty.
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
        self.slots: list[Slot | None] = [None] * size
        self.step_s = 0.0
        self.charged_s = 0.0

    @property
    def state(self) -> torch.Tensor:
        """float32 [size, 2d, H, W]."""
        return self.tensors.state

    @property
    def active(self) -> list[Slot]:
        """The slots with a run, in the order of their rows."""
        return [slot for slot in self.slots if slot is not None]

    @property
    def free(self) -> int:
        """Number of empty slots."""
        return self.slots.count(None)

    @torch.no_grad()
    def admit(self, run: Run, level: int = 0) -> Slot:
        """Seat a run in a free slot, at its checkpoint or at its start."""
        index = self.slots.index(None)
        step = run.start.step if run.start else 0
        psi = run.start.arrays["psi"] if run.start else run.origin
        tensors = self.tensors
        tensors.state[index] = self._on_device(psi)
        self.origin[index] = self._on_device(run.origin)
        tensors.memory[index] = 0
        if run.start and tensors.memory.numel():
            tensors.memory[index] = torch.from_numpy(np.array(run.start.arrays["memory"]))
        tensors.seed[index], tensors.clock[index] = run.seed, step
        tensors.gamma[index] = run.gamma
        tensors.good[index], tensors.occupied[index] = 0, 1
        slot = self.slots[index] = Slot(index, run, step, step, checkpointed=monotonic(), level=level)
        return slot

    def leave(self, slot: Slot) -> None:
        """Empty a slot."""
        self.slots[slot.index] = None
        for tensor in (self.tensors.state, self.tensors.memory, self.tensors.occupied):
            tensor[slot.index] = 0

    @torch.no_grad()
    def warm(self) -> None:
        """Compile the step for this shape and capture it; changes what is in the batch.

        Raises:
            torch.OutOfMemoryError: the device has no room for a step.
        """
        self.law.warm(self.tensors)
        self.runner.capture()

    @torch.no_grad()
    def move(self, slot: Slot, other: Batch) -> None:
        """Carry a universe, mid-run, to a free slot of another batch of the same bucket."""
        index = other.slots.index(None)
        for source, target in zip((*self.tensors, self.origin), (*other.tensors, other.origin), strict=True):
            target[index] = source[slot.index]
        self.leave(slot)
        slot.index = index
        other.slots[index] = slot

    def burst_length(self, burst_s: float) -> int:
        """Return the steps to the nearest event of any slot, but no more than fit into `burst_s` seconds.

        The bound lets a waiting run in soon. Before the first burst, whose duration is unknown, it is one step.
        """
        until_event = min(slot.run.next_event(slot.step) - slot.step for slot in self.active)
        return min(until_event, max(1, int(burst_s / self.step_s))) if self.step_s else 1

    @torch.no_grad()
    def advance(self, steps: int) -> None:
        """Queue steps of every slot, whether their states stay finite or not: `tensors.good` counts the finite ones.

        Where a recording compares the last step with the one before, that state is kept in `previous`.
        """
        keep = any(slot.run.needs_previous(slot.step + steps) for slot in self.active)
        if keep:
            self.runner.run(steps - 1)
            self.previous.copy_(self.state)
        self.runner.run(1 if keep else steps)
        for slot in self.active:
            slot.step += steps

    def measured(self, steps: int, seconds: float) -> None:
        """Update `step_s` with the device time of a burst."""
        self.step_s = seconds / steps if not self.step_s else 0.8 * self.step_s + 0.2 * seconds / steps

    @torch.no_grad()
    def checkpoint(self, slot: Slot, stream: DeviceStream) -> Callable[[], Checkpoint]:
        """Start copying the state of a slot to the host; the returned function blocks until it is there."""
        i, step = slot.index, slot.step
        tensors = [to_complex(self.state[i : i + 1])[0]]
        if self.tensors.memory.numel():
            tensors.append(self.tensors.memory[i].clone())
        arrays = stream.fetch(tensors)
        return lambda: Checkpoint(step, dict(zip(("psi", "memory"), arrays(), strict=False)))

    def _on_device(self, psi: NDArray[np.complex64]) -> torch.Tensor:
        return to_real(torch.from_numpy(np.array(psi, np.complex64))[None])[0].to(self.law.device.torch)
