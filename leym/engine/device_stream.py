"""The device as a stream: it does what it was given in order, while the host goes on.

On CUDA numbers come to the host on a stream of their own, into pinned memory, behind the stepping; torch keeps pinned
blocks and gives them out again. A CPU has done everything by the time it is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from leym.engine.device import Device

Arrays = Callable[[], list[NDArray[Any]]]
Timestamp = Any  # when the device came to a point of the stream: seconds, or an event


class Stream:
    """Of one device, for the engine's thread."""

    def __init__(self, device: Device):
        self._device = device.torch
        self._copies = torch.cuda.Stream(device.torch) if device.is_cuda else None

    def moment(self) -> Timestamp:
        """Now, in the order of what the device has been given."""
        if self._copies is None:
            return perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self._device))
        return event

    def seconds(self, began: Timestamp, ended: Timestamp) -> float:
        """Waits until the device came to `ended`."""
        if self._copies is None:
            return float(ended - began)
        ended.synchronize()
        return float(began.elapsed_time(ended)) / 1e3

    def fetch(self, tensors: Sequence[Tensor]) -> Arrays:
        """Nobody may write into these tensors afterwards. The answer, in any thread, waits for the arrays."""
        if self._copies is None:
            arrays = [tensor.numpy() for tensor in tensors]
            return lambda: arrays
        self._copies.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._copies):
            pinned = [tensor.to("cpu", non_blocking=True) for tensor in tensors]
            there = torch.cuda.Event()
            there.record(self._copies)
        for tensor in tensors:
            tensor.record_stream(self._copies)

        def wait() -> list[NDArray[Any]]:
            there.synchronize()
            return [np.array(tensor.numpy()) for tensor in pinned]  # pinned memory is soon wanted again

        return wait

    def free(self) -> None:
        """Give back to the device what nobody uses any more."""
        if self._copies is not None:
            torch.cuda.empty_cache()
