"""Measures the ceilings of a device and counts the cost of a law: the roofline model (Williams et al. 2009).

    share of compute = cell-steps/s x FLOP per cell-step / FLOP/s of a matrix product in the operand dtype
    share of memory  = cell-steps/s x bytes per cell-step / bytes/s of a copy

FLOP are those of the network alone, in the form that runs (folded where that is possible). Bytes are those that no
kernel can avoid: each state read and written once per step, and the weights read once per call.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import astuple, dataclass
from math import prod
from time import perf_counter
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from leym.engine.device import Device
from leym.laws.bundle import Manifest

COPIED = 64 * 2**20  # bytes: more than the caches of a core hold


@dataclass(frozen=True)
class Ceilings:
    """Ceilings of a device.

    Attributes:
        operand_flops: FLOP/s of a square matrix product in the operand dtype, 2 n^3 FLOP each.
        fp32_flops: the same in float32.
        bytes_per_s: of a copy, bytes read plus bytes written.
    """

    operand_flops: float
    fp32_flops: float
    bytes_per_s: float

    @classmethod
    def measure(cls, device: Device, seconds: float = 0.15) -> Ceilings:
        """Measure the ceilings, about `seconds` each; other work on the machine lowers them."""
        fp32 = matmul_flops(device, torch.float32, seconds)
        operands = fp32 if device.operands == torch.float32 else matmul_flops(device, device.operands, seconds)
        return cls(operands, fp32, copied_bytes(device, seconds))

    def higher(self, other: Ceilings) -> Ceilings:
        """Return the higher of each pair."""
        return Ceilings(*(max(pair) for pair in zip(astuple(self), astuple(other), strict=True)))

    def of(self, operands: torch.dtype) -> float:
        """Return the FLOP/s of a dtype."""
        return self.fp32_flops if operands == torch.float32 else self.operand_flops

    def as_dict(self) -> dict[str, float]:
        """Return the ceilings in GFLOP/s and GB/s, rounded for people."""
        return {
            "operand_gflops": round(self.operand_flops / 1e9, 1),
            "fp32_gflops": round(self.fp32_flops / 1e9, 1),
            "gbytes_per_s": round(self.bytes_per_s / 1e9, 1),
        }


def matmul_flops(device: Device, dtype: torch.dtype, seconds: float, n: int | None = None) -> float:
    """Return the FLOP/s of an n x n x n product of random numbers."""
    n = n or (8192 if device.is_cuda else 1536)
    a, b = (torch.randn(n, n, device=device.torch).to(dtype) for _ in range(2))
    return 2 * n**3 * calls_per_s(lambda: a @ b.T, device, seconds)


def copied_bytes(device: Device, seconds: float) -> float:
    """Return the bytes/s, read plus written, of a copy."""
    source = torch.ones(COPIED // 4, device=device.torch)
    target = torch.empty_like(source)
    return 2 * COPIED * calls_per_s(lambda: target.copy_(source), device, seconds)


def calls_per_s(call: Callable[[], Any], device: Device, seconds: float, warm: int = 2) -> float:
    """Return the best rate of three spells of `seconds / 3`, each of at least one call that the device has finished."""

    def wait() -> None:
        if device.is_cuda:
            torch.cuda.synchronize(device.torch)

    for _ in range(warm):
        call()
    wait()
    best = 0.0
    for _ in range(3):
        began, calls = perf_counter(), 0
        while perf_counter() - began < seconds / 3 or not calls:
            call()
            calls += 1
        wait()
        best = max(best, calls / (perf_counter() - began))
    return best


@dataclass(frozen=True)
class Cost:
    """FLOP and bytes that one cell needs for one step."""

    flops: float
    bytes: float


@torch.no_grad()
def cost_of(network: nn.Module, manifest: Manifest, grid: tuple[int, int], batch_size: int = 1) -> Cost:
    """Count the cost of a cell-step.

    Args:
        network: the network in the form that runs, on any device.
        manifest: its law.
        grid: (H, W).
        batch_size: universes per call, which share the reading of the weights.
    """
    on_meta = deepcopy(network).to("meta")
    state = torch.zeros(1, 2 * manifest.d_state, *grid, device="meta")
    inputs = [state.to(next((p.dtype for p in network.parameters()), torch.float32))]
    moved = 2 * state.nbytes
    if manifest.architecture_info.memory:
        memory = torch.zeros(1, *network.memory_shape(grid), device="meta")  # type: ignore[operator]
        inputs.append(memory)
        moved += 2 * memory.nbytes
    if manifest.stochastic:
        inputs.append(torch.zeros(1, 1, *grid, device="meta"))
    with FlopCounterMode(display=False) as counter:
        on_meta(*inputs)
    weights = sum(p.nbytes for p in network.parameters())
    return Cost(counter.get_total_flops() / prod(grid), (moved + weights / batch_size) / prod(grid))
