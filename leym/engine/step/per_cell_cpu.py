"""Runs the steps of per-cell laws on a CPU with `per_cell_cpu.cpp`, one call per burst.

The machine's own compiler builds it. Products are float32, or bfloat16 on the matrix unit (AMX) where the CPU has one,
else on its vector instructions.
"""

from __future__ import annotations

import atexit
import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
from ctypes import POINTER, Structure, c_float, c_int, c_int32, c_void_p
from functools import cache
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from leym.engine.step.batch_tensors import BatchTensors
from leym.laws.networks.per_cell import PerCellWeights
from leym.physics.constraint import Box

SOURCE = Path(__file__).with_suffix(".cpp")
FLAGS = ("-std=c++17", "-O3", "-march=native", "-ffp-contract=fast", "-fno-math-errno", "-fopenmp", "-shared", "-fPIC")
PAD = 16  # channels are padded to a multiple, as in `per_cell_cpu.cpp`


class KernelBuildError(OSError):
    """There is no compiler, or it rejects the source; the message says which."""


class _Law(Structure):
    """`Law` of `per_cell_cpu.cpp`."""

    _fields_ = [
        ("channels", c_int32),
        ("filters", c_int32),
        ("layers", c_int32),
        ("periodic", c_int32),
        ("bf16", c_int32),
        ("constraint", c_int32),
        ("low", c_float),
        ("high", c_float),
        ("rate", c_float),
        ("widths", c_void_p),
        ("stencil", c_void_p),
        ("weights", c_void_p),
        ("biases", c_void_p),
    ]


class FusedCells:
    """A per-cell law whose weights are laid out for the kernel; used by one thread at a time."""

    def __init__(
        self,
        law: PerCellWeights,
        operands: torch.dtype = torch.float32,
        constraint: Literal["unit", "none"] | Box = "unit",
    ):
        """Lay out the weights.

        Args:
            law: the layers and filters.
            operands: float32, or bfloat16 where `multiplies` returns True.
            constraint: what holds the state in bounds.

        Raises:
            KernelBuildError: the kernel cannot be built.
            ValueError: the kernel has no products of this dtype here.
        """
        if not multiplies(operands):
            raise ValueError(f"operands {operands}: the kernel has no such products on this machine")
        self._library = _library()
        channels = law.layers[-1][0].shape[0]
        filters = 0 if law.filters is None else law.filters.shape[0]
        to = 2 * PAD if operands == torch.bfloat16 else PAD  # the inputs of a layer are padded to a multiple
        widths, matrices = [_up(_up(channels) * max(filters, 1), to)], []
        for i, (weight, _) in enumerate(law.layers):
            weight = weight.float()
            if i == 0:  # the kernel keeps the channels of a filter together, padded
                weight = _padded(weight.unflatten(1, (channels, -1)).transpose(1, 2), 2).flatten(1)
            last = i + 1 == len(law.layers)
            matrix = _padded(_padded(weight, 1, to), 0, PAD if last else to).T
            widths.append(matrix.shape[1])
            if operands == torch.bfloat16:  # the weights of two neighbouring inputs are adjacent
                matrix = matrix.unflatten(0, (-1, 2)).transpose(1, 2).to(operands)
            matrices.append(matrix.contiguous())
        biases = [_padded(bias.float(), 0, width) for (_, bias), width in zip(law.layers, widths[1:], strict=True)]
        stencil = torch.zeros(0)
        if law.filters is not None:
            stencil = _padded(law.filters.float().flatten(2).transpose(1, 2), 2)
        self._kept = [torch.tensor(widths, dtype=torch.int32), stencil.contiguous(), *matrices, *biases]
        at = [tensor.data_ptr() for tensor in self._kept]
        pointers = c_void_p * len(law.layers)
        self._weights, self._biases = pointers(*at[2 : 2 + len(matrices)]), pointers(*at[2 + len(matrices) :])
        self._law = _Law(
            *(channels, filters, len(law.layers), law.periodic, operands == torch.bfloat16),
            *constraint_code(constraint),
            law.update_rate,
            *at[:2],
            *(ctypes.cast(found, c_void_p) for found in (self._weights, self._biases)),
        )
        self._scratch = torch.zeros(0)

    def advance(self, tensors: BatchTensors, steps: int) -> None:
        """Advance the occupied rows, in place; empty slots stay as they are.

        Raises:
            ValueError: the state has other channels than the law, or another memory format than channels last.
        """
        batch, channels, height, width = tensors.state.shape
        state = tensors.state
        if channels != self._law.channels or not state.is_contiguous(memory_format=torch.channels_last):
            raise ValueError(f"state {tuple(state.shape)}: expected {self._law.channels} channels, channels last")
        if self._scratch.shape != tensors.state.shape:
            self._scratch = torch.empty_like(tensors.state)
        addresses = (
            tensors.state,
            self._scratch,
            tensors.gamma,
            tensors.seed,
            tensors.clock,
            tensors.good,
            tensors.occupied,
        )
        sizes = (batch, height, width, steps, torch.get_num_threads())
        self._library.leym_cells(self._law, *(t.data_ptr() for t in addresses), *sizes)


def constraint_code(constraint: Literal["unit", "none"] | Box) -> tuple[int, float, float]:
    """Return a constraint as the fused kernels take it: 0 (unit), 1 (none) or 2 (box), then low and high of a box."""
    if isinstance(constraint, Box):
        return 2, *constraint.box
    return {"unit": 0, "none": 1}[constraint], 0.0, 0.0


def multiplies(operands: torch.dtype) -> bool:
    """Return whether the kernel has products of this dtype on this machine.

    Raises:
        KernelBuildError: the kernel cannot be built.
    """
    return operands == torch.float32 or (operands == torch.bfloat16 and bool(_library().leym_cells_bf16()))


def _up(n: int, to: int = PAD) -> int:
    return -(-n // to) * to


def _padded(tensor: Tensor, dim: int, to: int = PAD) -> Tensor:
    """Append zeros along `dim`, up to a multiple of `to`."""
    more = list(tensor.shape)
    more[dim] = _up(tensor.shape[dim], to) - tensor.shape[dim]
    return torch.cat([tensor, tensor.new_zeros(more)], dim)


@cache
def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(str(built()))
    library.leym_cells.argtypes = [POINTER(_Law), *[c_void_p] * 7, *[c_int] * 5]
    library.leym_cells.restype = None
    return library


def built() -> Path:
    """Return the kernel as a library for this machine, compiled at most once.

    Torch's extension loader is not used: it needs ninja, and waits for ever on the lock file of a killed process.

    Raises:
        KernelBuildError: there is no compiler, or it rejects the source.
    """
    compiler = os.environ.get("CXX", "g++")
    try:
        asked = subprocess.run([compiler, "-march=native", "-Q", "--help=target"], capture_output=True, check=True)
        version = subprocess.run([compiler, "--version"], capture_output=True, check=True).stdout
        kind = hashlib.sha256(b"\0".join((SOURCE.read_bytes(), " ".join(FLAGS).encode(), version, asked.stdout)))
        library = _folder() / f"cells-{kind.hexdigest()[:16]}.so"
        if not library.exists():
            library.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=library.parent) as folder:
                made = Path(folder, library.name)
                subprocess.run([compiler, *FLAGS, SOURCE, "-o", made], capture_output=True, check=True)
                made.replace(library)  # atomic, since other processes may build it too
    except (OSError, subprocess.CalledProcessError) as error:
        output = getattr(error, "stderr", b"") or str(error).encode()
        raise KernelBuildError(f"{compiler}: {output.decode(errors='replace')[:500]}") from error
    return library


@cache
def _folder() -> Path:
    """Return Inductor's cache folder, or a temporary folder of this process where none is set."""
    chosen = os.environ.get("TORCHINDUCTOR_CACHE_DIR")
    if chosen:
        return Path(chosen)
    made = tempfile.mkdtemp(prefix="leym-kernels-")
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return Path(made)
