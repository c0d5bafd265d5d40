"""How a law steps on a device: fused, compiled or eagerly, always in place and K times per burst.

    state, memory, good  <-  step(state, memory, gamma), good + finite

Compiled: one law, one static batch shape, one graph. In place because a CUDA graph wants static addresses; one step per
call because then a burst of any length runs the same kernels, and the bits of a universe cannot depend on how its steps
were grouped. Fused: per-cell laws on a CPU, a whole burst in one call (`leym.engine.cells`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from itertools import count

import torch
import torch._dynamo.config
from torch import Tensor, nn

from leym.engine.cells import FusedCells, NoCompiler
from leym.engine.device import Device
from leym.laws.bundle import Manifest
from leym.laws.network import empty_network
from leym.physics.noise import uniform
from leym.physics.step import step
from leym.precision.policy import SleepingLaw

log = logging.getLogger(__name__)
Step = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor], None]

_number = count()


class AwakeLaw:
    """A law resident on a device, its weights decoded once; one per bucket; a step is compiled at its first call.

    kernel: "fused", "inductor" or "eager", which of them steps it.
    """

    def __init__(self, law: SleepingLaw, device: Device, *, compile: bool, on_degraded: Callable[[str], None]):
        self.bundle, self.precision, self.device = law.bundle, law.precision, device
        operands = torch.float32 if law.precision == "fp32" else device.operands
        weights = {key: value.to(device.torch) for key, value in law.wake(operands).items()}
        network = empty_network(law.bundle.manifest)
        network.load_state_dict(weights, strict=True, assign=True)
        folded = getattr(network, "folded", None)  # the same function in a form that is quicker
        self.network = (folded() if folded else network).requires_grad_(False)
        self.bytes_at_rest, self.bytes_awake = law.bytes_at_rest, sum(w.nbytes for w in weights.values())
        self.operands = operands
        self._on_degraded = on_degraded
        self._eager = make_step_(self.network, law.bundle.manifest)
        self._fused = self._fuse() if compile else None
        self.kernel = "fused" if self._fused else "inductor" if compile else "eager"
        self._step_ = compile_step(self._eager, device) if self.kernel == "inductor" else self._eager

    @property
    def compiled(self) -> bool:
        return self.kernel != "eager"

    def advance(
        self, state: Tensor, memory: Tensor, gamma: Tensor, seed: Tensor, clock: Tensor, good: Tensor, steps: int
    ) -> None:
        """So many steps in place, shapes as `make_step_` has them."""
        if self._fused:
            self._fused.advance(state, gamma, seed, clock, good, steps)
            return
        for _ in range(steps):
            self._step_(state, memory, gamma, seed, clock, good)

    def memory_shape(self, grid: tuple[int, int]) -> tuple[int, ...]:
        """Of one universe's memory; (0,) for a law without."""
        shape: tuple[int, ...] = self.network.memory_shape(grid) if self.bundle.manifest.kind.memory else (0,)  # type: ignore[operator]
        return shape

    def run_eagerly(self, reason: str) -> None:
        """Go on without a compiled step, and say so."""
        self._step_, self.kernel = self._eager, "eager"
        self._say_degraded(reason)

    def _fuse(self) -> FusedCells | None:
        """The fused kernel, where it serves: per-cell laws that are added, in float32 on a CPU."""
        cells = getattr(self.network, "cells", None)
        if (
            not cells
            or self.device.is_cuda
            or self.operands != torch.float32
            or self.bundle.manifest.form != "additive"
        ):
            return None
        try:
            return FusedCells(cells())
        except NoCompiler as error:
            self._say_degraded(f"{self.bundle.ref} {self.precision}: no fused step: {error}")
            return None

    def _say_degraded(self, reason: str) -> None:
        log.error("degraded: %s", reason)
        self._on_degraded(reason)


def make_step_(network: nn.Module, manifest: Manifest) -> Step:
    has_memory, stochastic, form = manifest.kind.memory, manifest.stochastic, manifest.form

    def step_(state: Tensor, memory: Tensor, gamma: Tensor, seed: Tensor, clock: Tensor, good: Tensor) -> None:
        """One step in place: state float32 [B, 2d, H, W], memory float32 [B, …] ([B, 0] for a law without), and int64
        [B] each: clock (steps since the beginning), good (steps that stayed finite). gamma float32 [B, 1, 1, 1], seed
        int64 [B].
        """
        draws = uniform(seed, clock, (state.shape[2], state.shape[3])) if stochastic else None
        after, remembered, finite = step(network, form, state, gamma, memory if has_memory else None, draws)
        state.copy_(after)
        if remembered is not None:
            memory.copy_(remembered)
        clock.add_(1)
        good.add_(finite)

    # Dynamo keeps what it compiled, and counts recompilations, per code object: every bucket gets one of its own.
    step_.__code__ = step_.__code__.replace(co_name=f"step_{next(_number)}")

    return step_


def compile_step(step_: Step, device: Device) -> Step:
    """One graph without a break, or an error.

    On CUDA it is replayed as a CUDA graph; on a CPU the weights are folded in and prepacked.
    """
    if device.is_cuda:
        return torch.compile(step_, fullgraph=True, dynamic=False, mode="reduce-overhead")
    return torch.compile(step_, fullgraph=True, dynamic=False, options={"freezing": True})
