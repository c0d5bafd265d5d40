"""The compiled step: one law, one static batch shape, one graph.

    state, good  <-  step(state, gamma), good + finite        in place, K times per burst

In place because a CUDA graph wants static addresses; one step per call because then a burst of any length runs the
same kernels, and the bits of a universe cannot depend on how its steps were grouped.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch
import torch._dynamo.config
from torch import Tensor, nn

from leym.engine.device import Device
from leym.laws.network import empty_network
from leym.physics.step import step
from leym.precision.policy import SleepingLaw

log = logging.getLogger(__name__)
Step = Callable[[Tensor, Tensor, Tensor], None]

# Every bucket compiles the same code object for its own network and shape, which Dynamo counts as recompilations.
torch._dynamo.config.recompile_limit = 4096
torch._dynamo.config.accumulated_recompile_limit = 65536


class AwakeLaw:
    """A law resident on a device, its weights decoded once; one per bucket; `step_` is compiled at its first call."""

    def __init__(self, law: SleepingLaw, device: Device, *, compile: bool, on_degraded: Callable[[str], None]):
        self.bundle, self.precision, self.device = law.bundle, law.precision, device
        operands = torch.float32 if law.precision == "fp32" else device.operands
        weights = {key: value.to(device.torch) for key, value in law.wake(operands).items()}
        network = empty_network(law.bundle.manifest)
        network.load_state_dict(weights, strict=True, assign=True)
        self.network = network.requires_grad_(False)
        self.bytes_at_rest, self.bytes_awake = law.bytes_at_rest, sum(w.nbytes for w in weights.values())
        self.operands = operands
        self.compiled = compile
        self._eager = make_step_(self.network, law.bundle.manifest.form)
        self.step_ = compile_step(self._eager, device) if compile else self._eager
        self._on_degraded = on_degraded

    def run_eagerly(self, reason: str) -> None:
        """Go on without a compiled step, and say so."""
        log.error("degraded: %s", reason)
        self.step_, self.compiled = self._eager, False
        self._on_degraded(reason)


def make_step_(network: nn.Module, form: str) -> Step:
    def step_(state: Tensor, gamma: Tensor, good: Tensor) -> None:
        """state float32 [B, 2d, H, W] and good int64 [B] (steps that stayed finite) are updated in place.

        Gamma float32 [B, 1, 1, 1].
        """
        after, finite = step(network, form, state, gamma)
        state.copy_(after)
        good.add_(finite)

    return step_


def compile_step(step_: Step, device: Device) -> Step:
    """One graph without a break, or an error.

    On CUDA it is replayed as a CUDA graph; on a CPU the weights are folded in and prepacked.
    """
    if device.is_cuda:
        return torch.compile(step_, fullgraph=True, dynamic=False, mode="reduce-overhead")
    return torch.compile(step_, fullgraph=True, dynamic=False, options={"freezing": True})
