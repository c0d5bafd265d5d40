"""The tensors that a step reads and writes: one row per slot, at fixed addresses for as long as the batch lives."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class BatchTensors(NamedTuple):
    """The state of a batch of B slots on the device.

    Attributes:
        state: float32 [B, 2d, H, W], channels last: real parts, then imaginary parts.
        memory: float32 [B, M, H/4, W/4] of a law with a memory, else [B, 0].
        gamma: float32 [B, 1, 1, 1].
        seed: int64 [B].
        clock: int64 [B], steps since the universe began.
        good: int64 [B], steps since the universe took its slot that left a finite state.
        occupied: int64 [B], 1 for a slot with a universe, else 0; the fused kernels skip empty slots.
    """

    state: Tensor
    memory: Tensor
    gamma: Tensor
    seed: Tensor
    clock: Tensor
    good: Tensor
    occupied: Tensor

    @classmethod
    def empty(
        cls, batch_size: int, channels: int, grid: tuple[int, int], memory: tuple[int, ...], device: torch.device
    ) -> BatchTensors:
        """Allocate the tensors of an empty batch.

        Args:
            batch_size: B, the number of slots.
            channels: 2d.
            grid: (H, W).
            memory: shape of one universe's memory, (0,) for a law without.
            device: where the tensors are.

        Raises:
            torch.OutOfMemoryError: the device has no room for them.
        """
        state = torch.zeros(batch_size, channels, *grid, device=device).to(memory_format=torch.channels_last)
        numbers = (torch.zeros(batch_size, dtype=torch.int64, device=device) for _ in range(4))
        gamma = torch.zeros(batch_size, 1, 1, 1, device=device)
        return cls(state, torch.zeros(batch_size, *memory, device=device), gamma, *numbers)
