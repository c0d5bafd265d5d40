"""How a law steps on a device: fused, compiled or eagerly, always in place and K times per burst.

    state, memory, good  <-  step(state, memory, gamma), good + finite

Compiled: one static batch shape, one graph, shared by all laws of a kind (`compiled.py`); on CUDA replayed in graphs
of many steps (`bursts.py`). Fused: per-cell laws, on a CPU a whole burst in one call (`cells.py`), on CUDA a kernel per
step (`cells_triton.py`).
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
from leym.engine.step.per_cell_cpu import FusedCells, NoCompiler, multiplies
from leym.laws.loading import empty_network
from leym.laws.networks.per_cell import Cells
from leym.quantization.quantized_law import QuantizedLaw

log = logging.getLogger(__name__)


class Fused(Protocol):
    """A kernel of many steps, on one device."""

    def advance(self, lanes: BatchTensors, steps: int) -> None: ...


class ResidentLaw:
    """A law resident on a device, its weights decoded once; one per bucket.

    kernel: "fused", "inductor" or "eager", which of them steps it. compiled: None to step eagerly. capture: of the
    device (`leym.engine.step.cuda_graphs`).
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
        folded = getattr(network, "folded", None)  # the same function in a form that is quicker
        self.network = (folded() if folded else network).requires_grad_(False)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # as the states are
        self.bytes_at_rest, self.bytes_resident = law.bytes_at_rest, sum(w.nbytes for w in weights.values())
        self._on_degraded, self._compiled, self._capture = on_degraded, compiled, capture
        self._fused = self._fuse() if compiled else None
        self.kernel = "fused" if self._fused else "inductor" if compiled else "eager"
        self._step_: Step | None = None if self.kernel == "inductor" else make_step_(law.bundle.manifest)

    @property
    def compiled(self) -> bool:
        return self.kernel != "eager"

    def bursts(self, lanes: BatchTensors) -> StepRunner:
        """Steps of these, in place."""
        return StepRunner(partial(self._launch, lanes), self._capture if self.compiled else None)

    def memory_shape(self, grid: tuple[int, int]) -> tuple[int, ...]:
        """Of one universe's memory; (0,) for a law without."""
        shape: tuple[int, ...] = self.network.memory_shape(grid) if self.bundle.manifest.kind.memory else (0,)  # type: ignore[operator]
        return shape

    def run_eagerly(self, reason: str) -> None:
        """Go on without a compiled step, and say so."""
        self._step_, self.kernel = make_step_(self.bundle.manifest), "eager"
        self._say_degraded(reason)

    def warm(self, lanes: BatchTensors) -> None:
        """Compile, and let libraries make their choices: a capture must meet nothing for the first time."""
        for _ in range(3):
            self._launch(lanes, 1)

    def _launch(self, lanes: BatchTensors, steps: int) -> None:
        if self._fused:
            self._fused.advance(lanes, steps)
            return
        if self._step_ is None:
            assert self._compiled is not None
            manifest, shape = self.bundle.manifest, tuple(lanes.state.shape)
            self._step_ = self._compiled.step(manifest, self.network, self.operands, shape)
        for _ in range(steps):
            self._step_(self.network, *lanes[:-1])

    def _fuse(self) -> Fused | None:
        """The fused kernel, where it serves: per-cell laws that are added, in a dtype that it multiplies in."""
        cells = getattr(self.network, "cells", None)
        if not cells or self.bundle.manifest.form != "additive":
            return None
        if self.device.is_cuda:
            return self._fuse_on_cuda(cells())
        try:
            return FusedCells(cells(), self.operands) if multiplies(self.operands) else None
        except NoCompiler as error:
            self._say_degraded(f"{self.bundle.ref} {self.precision}: no fused step: {error}")
            return None

    def _fuse_on_cuda(self, cells: Cells) -> Fused | None:
        try:
            from leym.engine.step.per_cell_triton import TritonCells, serves
        except ImportError as error:
            self._say_degraded(f"{self.bundle.ref} {self.precision}: no fused step: {error}")
            return None
        return TritonCells(cells, self.operands) if serves(cells, self.operands) else None

    def _say_degraded(self, reason: str) -> None:
        log.error("degraded: %s", reason)
        self._on_degraded(reason)
