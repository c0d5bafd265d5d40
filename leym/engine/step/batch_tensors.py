"""What a batch steps: tensors with a lane per slot, which stay where they are for as long as the batch lives."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class BatchTensors(NamedTuple):
    """state: float32 [B, 2d, H, W], channels last; memory: float32 [B, …], [B, 0] for a law without; gamma: float32
    [B, 1, 1, 1]; int64 [B] each: seed, clock (steps since the universe began), good (steps that stayed finite since it
    was seated), taken (1, or 0 for a lane without a universe: a fused kernel passes over it)."""

    state: Tensor
    memory: Tensor
    gamma: Tensor
    seed: Tensor
    clock: Tensor
    good: Tensor
    taken: Tensor

    @classmethod
    def empty(
        cls, batch: int, channels: int, grid: tuple[int, int], memory: tuple[int, ...], on: torch.device
    ) -> BatchTensors:
        """memory: of one universe. Raises torch.OutOfMemoryError."""
        state = torch.zeros(batch, channels, *grid, device=on).to(memory_format=torch.channels_last)
        numbers = (torch.zeros(batch, dtype=torch.int64, device=on) for _ in range(4))
        return cls(state, torch.zeros(batch, *memory, device=on), torch.zeros(batch, 1, 1, 1, device=on), *numbers)
