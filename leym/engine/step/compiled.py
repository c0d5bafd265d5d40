"""Compiles the step, and shares the result between laws.

The compiled code depends on architecture and shapes, never on the weights: a new law of a known kind and shape
compiles nothing. Weights that are inputs instead of constants cost no measurable speed (docs/benchmarks.md).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from threading import Lock
from typing import Any

import torch
from torch import Tensor, nn

from leym.laws.bundle import Manifest
from leym.physics.philox import uniform
from leym.physics.step import step

Step = Callable[[nn.Module, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor], None]

KEPT = 64  # compiled steps in the cache; a bucket keeps its own in any case

_number = count()


def make_step_(manifest: Manifest) -> Step:
    """Return a function that advances a batch by one step, in place, with any network of the manifest's kind."""
    has_memory, stochastic, form = manifest.architecture_info.memory, manifest.stochastic, manifest.form
    bounds: dict[str, Any] = {"constraint": manifest.constraint, "living": manifest.living}
    bounds["periodic"] = manifest.boundary == "periodic"

    def step_(
        network: nn.Module, state: Tensor, memory: Tensor, gamma: Tensor, seed: Tensor, clock: Tensor, good: Tensor
    ) -> None:
        """Advance every row of the batch, occupied or not: the fields of `BatchTensors` except `occupied`."""
        draws = uniform(seed, clock, (state.shape[2], state.shape[3])) if stochastic else None
        after, remembered, finite = step(network, form, state, gamma, memory if has_memory else None, draws, **bounds)
        state.copy_(after)
        if remembered is not None:
            memory.copy_(remembered)
        clock.add_(1)
        good.add_(finite)

    # Dynamo keeps what it compiled, and counts recompilations, per code object: every step gets one of its own.
    step_.__code__ = step_.__code__.replace(co_name=f"step_{next(_number)}")

    return step_


def compile_step(step_: Step, threads: int) -> Step:
    """Compile a step into one graph of static shapes; a graph break is an error at the first call.

    Args:
        step_: the step.
        threads: CPU threads that loops are split for. The code runs on as many as its caller computes on, so that the
            thread that compiles and warms it needs no pool.
    """
    options: dict[str, Any] = {
        "cpp.threads": threads,
        "cpp.dynamic_threads": threads > 1,
        "guard_filter_fn": _any_number_of_threads,
    }
    return torch.compile(step_, fullgraph=True, dynamic=False, options=options)


def _any_number_of_threads(guards: Sequence[Any]) -> list[bool]:
    """Keep all of Dynamo's guards but that on global state, which holds the thread's number of compute threads.

    With it the device thread would compile again what the warming thread has compiled.
    """
    return [guard.guard_type != "GLOBAL_STATE" for guard in guards]


class CompiledSteps:
    """Keeps the compiled steps of one device, whose thread computes on `threads` CPU threads. Thread-safe."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._steps: dict[tuple[Any, ...], Step] = {}
        self._lock = Lock()

    def step(self, manifest: Manifest, network: nn.Module, operands: torch.dtype, shape: tuple[int, ...]) -> Step:
        """Return the step of laws like this one, which is compiled at its first call.

        Args:
            manifest: architecture, form, constraint, living mask and options of the law.
            network: the network that runs; its parameters' names, shapes and dtypes count, not their values.
            operands: dtype that matrices are multiplied in.
            shape: of the state, [B, 2d, H, W].
        """
        choices = tuple(sorted(manifest.network_options.items()))
        # a folded network is of another form than one that could not be folded
        weights = tuple((name, tuple(p.shape), p.dtype) for name, p in network.named_parameters())
        bounds = (manifest.constraint, manifest.living)
        key = (manifest.architecture, manifest.form, bounds, choices, weights, operands, shape)
        with self._lock:
            found = self._steps.pop(key, None) or compile_step(make_step_(manifest), self._threads)
            self._steps[key] = found  # last in the order of use
            for old in list(self._steps)[: max(0, len(self._steps) - KEPT)]:
                del self._steps[old]
        return found
