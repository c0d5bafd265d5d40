"""The fused steps of per-cell laws on a CPU: `cells.cpp`, built by the machine's own compiler, called once per burst.

In float32, or with bfloat16 operands: by the matrix unit (AMX) where the CPU has one, else by its vector instructions.
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

import torch
from torch import Tensor

from leym.engine.step.batch_tensors import BatchTensors
from leym.laws.networks.per_cell import Cells

SOURCE = Path(__file__).with_suffix(".cpp")
FLAGS = ("-std=c++17", "-O3", "-march=native", "-ffp-contract=fast", "-fno-math-errno", "-fopenmp", "-shared", "-fPIC")
PAD = 16  # of `cells.cpp`: channels are padded to a multiple


class NoCompiler(OSError):
    """There is none, or it does not take the source. The message says which."""


class _Law(Structure):
    """`Law` of `cells.cpp`."""

    _fields_ = [
        ("channels", c_int32),
        ("filters", c_int32),
        ("layers", c_int32),
        ("periodic", c_int32),
        ("bf16", c_int32),
        ("rate", c_float),
        ("widths", c_void_p),
        ("stencil", c_void_p),
        ("weights", c_void_p),
        ("biases", c_void_p),
    ]


class FusedCells:
    """A per-cell law whose weights are laid out for the kernel. For one thread."""

    def __init__(self, law: Cells, operands: torch.dtype = torch.float32):
        """operands: float32, or bfloat16 where `multiplies` says so. Raises NoCompiler."""
        assert multiplies(operands)
        self._library = _library()
        channels = law.layers[-1][0].shape[0]
        filters = 0 if law.filters is None else law.filters.shape[0]
        to = 2 * PAD if operands == torch.bfloat16 else PAD  # what a layer takes is padded to a multiple
        widths, matrices = [_up(_up(channels) * max(filters, 1), to)], []
        for i, (weight, _) in enumerate(law.layers):
            weight = weight.float()
            if i == 0:  # the kernel has the channels of a filter together, each lot padded
                weight = _padded(weight.unflatten(1, (channels, -1)).transpose(1, 2), 2).flatten(1)
            last = i + 1 == len(law.layers)
            matrix = _padded(_padded(weight, 1, to), 0, PAD if last else to).T
            widths.append(matrix.shape[1])
            if operands == torch.bfloat16:  # the weights of two neighbouring inputs beside each other
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
            *(channels, filters, len(law.layers), law.periodic, operands == torch.bfloat16, law.rate, at[0], at[1]),
            *(ctypes.cast(found, c_void_p) for found in (self._weights, self._biases)),
        )
        self._scratch = torch.zeros(0)

    def advance(self, lanes: BatchTensors, steps: int) -> None:
        """In place. BatchTensors that are not taken stay as they are."""
        batch, channels, height, width = lanes.state.shape
        assert channels == self._law.channels and lanes.state.is_contiguous(memory_format=torch.channels_last)
        if self._scratch.shape != lanes.state.shape:
            self._scratch = torch.empty_like(lanes.state)
        tensors = (lanes.state, self._scratch, lanes.gamma, lanes.seed, lanes.clock, lanes.good, lanes.taken)
        sizes = (batch, height, width, steps, torch.get_num_threads())
        self._library.leym_cells(self._law, *(t.data_ptr() for t in tensors), *sizes)


def multiplies(operands: torch.dtype) -> bool:
    """Whether the kernel has products of this dtype on this machine. Raises NoCompiler."""
    return operands == torch.float32 or (operands == torch.bfloat16 and bool(_library().leym_cells_bf16()))


def _up(n: int, to: int = PAD) -> int:
    return -(-n // to) * to


def _padded(tensor: Tensor, dim: int, to: int = PAD) -> Tensor:
    """With zeros at the end of `dim`, up to a multiple of `to`."""
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
    """The kernel as a library for this machine, compiled at most once. Raises NoCompiler.

    Not by torch's extension loader: that wants ninja, and waits for ever on the lock file of a process that was killed.
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
                made.replace(library)  # whole or not at all, whoever else builds it now
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", b"") or str(error).encode()
        raise NoCompiler(f"{compiler}: {said.decode(errors='replace')[:500]}") from error
    return library


@cache
def _folder() -> Path:
    """Beside what Inductor has compiled; without such a place, one for this process."""
    chosen = os.environ.get("TORCHINDUCTOR_CACHE_DIR")
    if chosen:
        return Path(chosen)
    made = tempfile.mkdtemp(prefix="leym-kernels-")
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return Path(made)
