"""Picks a device and the dtype it computes in.

The choice rests on capabilities, never on a timing, so that two workers of one kind choose alike.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass, field

import torch

from leym.engine.compute_threads import pool_size

Dtype = torch.dtype  # a field below is called torch


@dataclass(frozen=True)
class Device:
    """A device, and the dtype it multiplies quantised weights in.

    Attributes:
        operands: dtype that quantised and bf16 laws are multiplied in.
        threads: CPU threads that the device thread computes on.
    """

    torch: torch.device
    operands: Dtype
    name: str
    threads: int = field(default_factory=pool_size)

    @property
    def is_cuda(self) -> bool:
        """True for a CUDA device."""
        return self.torch.type == "cuda"

    @property
    def kind(self) -> str:
        """Name, operand dtype, threads and torch version: workers of one kind give identical bits."""
        dtype = str(self.operands).removeprefix("torch.")
        return f"{self.name}; {dtype} operands; {self.threads} threads; torch {torch.__version__}"


def pick_device(name: str | None = None) -> Device:
    """Return the device called `name` ("cpu", "cuda", "cuda:1"); without a name, CUDA if there is one, else the CPU."""
    device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
    if device.type == "cuda":
        good = torch.cuda.get_device_capability(device) >= (8, 0)
        return Device(device, torch.bfloat16 if good else torch.float32, torch.cuda.get_device_name(device))
    return Device(device, torch.bfloat16 if _cpu_multiplies_bf16_faster() else torch.float32, _cpu_name())


def _cpu_multiplies_bf16_faster() -> bool:
    """Return whether bfloat16 products are faster than float32 ones: with AMX, and with AMD's vdpbf16ps.

    Intel's vdpbf16ps without AMX runs at half the fp32 rate (docs/benchmarks.md).
    """
    return _cpu_can("amx_bf16") or (_cpu_can("avx512_bf16") and "amd" in _cpu_name().lower())


def _cpu_can(name: str) -> bool:
    return bool(torch.cpu.get_capabilities().get(name)) if hasattr(torch.cpu, "get_capabilities") else False


def _cpu_name() -> str:
    """Return vendor, name, family, model and instructions: in virtual machines several generations share a name."""
    instructions = [torch.backends.cpu.get_cpu_capability(), *filter(_cpu_can, ("avx512_bf16", "amx_bf16"))]
    return f"{_cpu_model()} {'+'.join(instructions)}"


def _cpu_model() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            facts = dict(line.split(":", 1) for line in file.read().split("\n\n")[0].splitlines() if ":" in line)
        named = {key.strip(): value.strip() for key, value in facts.items()}
        return f"{named['vendor_id']} {named['model name']} {named['cpu family']}/{named['model']}"
    except (OSError, KeyError):
        return platform.processor() or platform.machine()
