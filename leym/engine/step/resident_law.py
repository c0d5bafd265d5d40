"""Steps a law on a device: fused, compiled or eagerly, always in place and K times per burst.

    state, memory, good  <-  step(state, memory, gamma), good + finite

Compiled: one static batch shape, one graph, shared by all laws of a kind (`compiled.py`); on CUDA replayed in graphs
of many steps (`cuda_graphs.py`). Fused: per-cell laws, on a CPU a whole burst in one call (`per_cell_cpu.py`), on CUDA
one kernel per step (`per_cell_triton.py`). A living mask needs the neighbours of the next state too, which a fused step
does not have: such laws take the compiled step.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Protocol

import torch

from leym.engine.device import Device
from leym.engine.step.batch_tensors import BatchTensors
from leym.engine.step.compiled import CompiledSteps, Step, make_step_
from leym.engine.step.cuda_graphs import Capture, StepRunner
from leym.engine.step.per_cell_cpu import FusedCells, KernelBuildError, multiplies
from leym.laws.loading import empty_network
from leym.laws.networks.per_cell import PerCellWeights
from leym.quantization.quantized_law import QuantizedLaw

log = logging.getLogger(__name__)


class Fused(Protocol):
    """A kernel that runs many steps on one device."""

    def advance(self, tensors: BatchTensors, steps: int) -> None:
        """Advance the occupied rows, in place."""


class ResidentLaw:
    """A law resident on a device, its weights decoded once; each bucket has its own.

    Args:
        law: the law at rest.
        device: where it computes.
        compiled: the compiled steps of the device; None steps eagerly.
        capture: records calls of the device (`leym.engine.step.cuda_graphs`).
        on_degraded: called with a sentence when the law runs slower than it should.

    Attributes:
        kernel: "fused", "inductor" or "eager", whichever steps it.
        operands: dtype that matrices are multiplied in.
        bytes_at_rest, bytes_resident: size of the weights, encoded and decoded.
    """

    def __init__(
        self,
        law: QuantizedLaw,
        device: Device,
        *,
        compiled: CompiledSteps | None = None,
        capture: Capture | None = None,
        on_degraded: Callable[[str], None],
    ):
        self.bundle, self.precision, self.device = law.bundle, law.precision, device
        self.operands = torch.float32 if law.precision == "fp32" else device.operands
        weights = {key: value.to(device.torch) for key, value in law.decode(self.operands).items()}
        network = empty_network(law.bundle.manifest)
        network.load_state_dict(weights, strict=True, assign=True)
        folded = getattr(network, "folded", None)  # the same function in a faster form
        self.network = (folded() if folded else network).requires_grad_(False)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # as the states are
        self.bytes_at_rest, self.bytes_resident = law.bytes_at_rest, sum(w.nbytes for w in weights.values())
        self._on_degraded, self._compiled, self._capture = on_degraded, compiled, capture
        self._fused = self._fuse() if compiled else None
        self.kernel = "fused" if self._fused else "inductor" if compiled else "eager"
        self._step_: Step | None = None if self.kernel == "inductor" else make_step_(law.bundle.manifest)

    @property
    def compiled(self) -> bool:
        """True if the step is fused or compiled."""
        return self.kernel != "eager"

    def runner(self, tensors: BatchTensors) -> StepRunner:
        """Return a runner of steps on these tensors, in place."""
        return StepRunner(partial(self._launch, tensors), self._capture if self.compiled else None)

    def memory_shape(self, grid: tuple[int, int]) -> tuple[int, ...]:
        """Return the shape of one universe's memory, (0,) for a law without."""
        has_memory = self.bundle.manifest.architecture_info.memory
        shape: tuple[int, ...] = self.network.memory_shape(grid) if has_memory else (0,)  # type: ignore[operator]
        return shape

    def run_eagerly(self, reason: str) -> None:
        """Step eagerly from now on, and report why."""
        self._step_, self.kernel = make_step_(self.bundle.manifest), "eager"
        self._say_degraded(reason)

    def warm(self, tensors: BatchTensors) -> None:
        """Compile, and let libraries choose their algorithms, so that a capture finds everything initialised."""
        for _ in range(3):
            self._launch(tensors, 1)

    def _launch(self, tensors: BatchTensors, steps: int) -> None:
        if self._fused:
            self._fused.advance(tensors, steps)
            return
        if self._step_ is None:
            if self._compiled is None:
                raise RuntimeError(f"{self.bundle.ref}: there is no compiled step")
            manifest, shape = self.bundle.manifest, tuple(tensors.state.shape)
            self._step_ = self._compiled.step(manifest, self.network, self.operands, shape)
        for _ in range(steps):
            self._step_(self.network, *tensors[:-1])

    def _fuse(self) -> Fused | None:
        """Return the fused kernel of an additive per-cell law, or None where it does not apply or cannot be built."""
        weights = getattr(self.network, "per_cell_weights", None)
        manifest = self.bundle.manifest
        if not weights or manifest.form != "additive" or manifest.living is not None:
            return None
        if self.device.is_cuda:
            return self._fuse_on_cuda(weights())
        try:
            return FusedCells(weights(), self.operands, manifest.constraint) if multiplies(self.operands) else None
        except KernelBuildError as error:
            self._say_degraded(f"{self.bundle.ref} {self.precision}: no fused step: {error}")
            return None

    def _fuse_on_cuda(self, weights: PerCellWeights) -> Fused | None:
        try:
            from leym.engine.step.per_cell_triton import TritonCells, serves
        except ImportError as error:
            self._say_degraded(f"{self.bundle.ref} {self.precision}: no fused step: {error}")
            return None
        if not serves(weights, self.operands):
            return None
        return TritonCells(weights, self.operands, self.bundle.manifest.constraint)

    def _say_degraded(self, reason: str) -> None:
        log.error("degraded: %s", reason)
        self._on_degraded(reason)
