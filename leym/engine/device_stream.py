"""The device as a stream: it carries out what it is given in order, while the host goes on.

On CUDA, results are copied to the host on a second stream, into pinned memory, behind the stepping; torch keeps pinned
blocks and hands them out again. A CPU has finished everything by the time it is asked.
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

HostArrays = Callable[[], list[NDArray[Any]]]  # blocks until the copies have arrived, then returns them
Timestamp = Any  # a position of the stream: seconds on a CPU, an event on CUDA


class DeviceStream:
    """The stream of one device, for the engine's thread."""

    def __init__(self, device: Device):
        self._device = device.torch
        self._copies = torch.cuda.Stream(device.torch) if device.is_cuda else None

    def timestamp(self) -> Timestamp:
        """Record a timestamp at the current position of the stream."""
        if self._copies is None:
            return perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self._device))
        return event

    def seconds(self, began: Timestamp, ended: Timestamp) -> float:
        """Return the device time between two timestamps; blocks until the device has reached `ended`."""
        if self._copies is None:
            return float(ended - began)
        ended.synchronize()
        return float(began.elapsed_time(ended)) / 1e3

    def fetch(self, tensors: Sequence[Tensor]) -> HostArrays:
        """Start a device-to-host copy; the returned function, callable in any thread, blocks until it is done.

        Nobody may write into the tensors afterwards: on a CPU the arrays share their memory.
        """
        if self._copies is None:
            arrays = [tensor.numpy() for tensor in tensors]
            return lambda: arrays
        self._copies.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._copies):
            pinned = [tensor.to("cpu", non_blocking=True) for tensor in tensors]
            arrived = torch.cuda.Event()
            arrived.record(self._copies)
        for tensor in tensors:
            tensor.record_stream(self._copies)

        def wait() -> list[NDArray[Any]]:
            arrived.synchronize()
            return [np.array(tensor.numpy()) for tensor in pinned]  # a copy, because the pinned block is reused soon

        return wait

    def free(self) -> None:
        """Return the memory that no tensor uses to the device."""
        if self._copies is not None:
            torch.cuda.empty_cache()
