"""Runs many steps of one batch in few calls.

On CUDA a burst is replayed from CUDA graphs, one per length of LENGTHS, captured once per batch, whose tensors never
move. They are captured here and not by torch.compile, whose graphs belong to the thread that made them (pytorch issue
123177): ours are made in one thread and replayed in another.

    k steps  =  n_32 graphs of 32 + n_8 of 8 + n_1 of 1

All lengths launch the same kernels, so the bits of a universe cannot depend on how its steps were grouped.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch

from leym.engine.device import Device

LENGTHS = (32, 8, 1)  # the largest is captured first: the others fit into its memory

Call = Callable[[], None]
Capture = Callable[[Call], Call]  # records what a call launches, without running it; the result launches it again


class StepRunner:
    """Runs steps of one batch, in place.

    Args:
        launch: launches a number of steps.
        capture: records what is launched; None on a device that does not capture.
    """

    def __init__(self, launch: Callable[[int], None], capture: Capture | None):
        self._launch, self._capture = launch, capture
        self._replays: dict[int, Call] = {}

    def run(self, steps: int) -> None:
        """Queue a number of steps on the device."""
        if self._capture is None:
            self._launch(steps)
            return
        self.capture()
        for length in LENGTHS:
            times, steps = divmod(steps, length)
            for _ in range(times):
                self._replays[length]()

    def capture(self) -> None:
        """Capture the graphs once, on a device that captures; takes all the memory that a burst needs.

        Raises:
            torch.OutOfMemoryError: the device has no room for them.
        """
        if self._capture and not self._replays:
            self._replays = {length: self._capture(partial(self._launch, length)) for length in LENGTHS}


class CudaGraphs:
    """Captures on a stream of its own, into one memory pool for all graphs of a device: they never run together."""

    def __init__(self, device: Device):
        self._device = device.torch
        self._pool = torch.cuda.graph_pool_handle()
        self._stream = torch.cuda.Stream(self._device)

    def __call__(self, call: Call) -> Call:
        """Capture what `call` launches; the returned function replays it."""
        graph = torch.cuda.CUDAGraph()
        # thread_local: the engine thread goes on stepping other batches while a new bucket is warmed
        with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
            call()
        return graph.replay


def capture_of(device: Device) -> Capture | None:
    """Return the way a device records calls, or None where there is nothing to gain."""
    return CudaGraphs(device) if device.is_cuda else None
