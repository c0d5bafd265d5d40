"""Runs the step of per-cell laws as one Triton kernel on CUDA.

A block of cells goes through perception, layers, update and norm without leaving registers and shared memory.

    a_0 = perceive(x)                       F 3x3 filters per channel, or the cell itself
    a_l = elu(W_l a_(l-1) + b_l)            l = 1 .. L - 1
    y   = m (W_L a_(L-1) + b_L)             m: 1, or drawn per cell and step
    phi = x + y - gamma x;   x' = C(phi)    C: phi / (|phi| + 1e-9), phi, or phi within a box

Products of `operands` (a 16-bit float or float32) are summed in float32; everything else is float32. `per_cell_cpu.cpp`
is its twin. A CPU runs it in Triton's interpreter, for tests only: the interpreter's products of bfloat16 are wrong
(Triton 3.9).
"""

from __future__ import annotations

from typing import Literal

import torch
import triton
import triton.language as tl
from torch import Tensor

from leym.engine.step.batch_tensors import BatchTensors
from leym.engine.step.per_cell_cpu import constraint_code
from leym.laws.networks.per_cell import PerCellWeights
from leym.physics.constraint import Box

BLOCK, WARPS = 64, 4  # cells and warps of a program; benchmarks.gpu_check tries others
LEAST = 16  # sides of a matrix product in Triton; smaller ones are padded with zeros
FILTERS = (0, 1, 4)  # supported: none, one (DEEP_QCA folded into a sum), four (NCA)
WIDE_MOST, HIDDEN_MOST, HIDDEN_MOST_OF_TWO_LAYERS = (
    64,
    128,
    256,
)  # beyond, an L4 has no room (tests/support/triton_targets.py)


@triton.jit
def _elu(x):
    return tl.where(x > 0, x, tl.exp(x) - 1)


@triton.jit
def _product(a, weight, OPERANDS: tl.constexpr):
    return tl.dot(a.to(OPERANDS), weight, input_precision="ieee")


@triton.jit
def _matrix(at, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    return tl.load(at + tl.arange(0, ROWS)[:, None] * COLUMNS + tl.arange(0, COLUMNS)[None, :])


@triton.jit
def _near(universe, y, x, dy, dx, H, W, channel, shown, C: tl.constexpr, WRAP: tl.constexpr):
    """Load the neighbours at (dy, dx) of a block of cells, [BLOCK, WIDE]: zero beyond the edge, or wrapped around."""
    y, x = y + dy, x + dx
    if WRAP:
        y, x = (y + H) % H, (x + W) % W
        there = shown
    else:
        there = shown & (y >= 0)[:, None] & (y < H)[:, None] & (x >= 0)[:, None] & (x < W)[:, None]
    return tl.load(universe + (y * W + x)[:, None] * C + channel[None, :], mask=there, other=0.0)


@triton.jit(do_not_specialize=["n"])  # or the steps of a burst would be several kernels
def _step(
    now, after, finite, gamma, seed, clock, occupied, stencil, weights, biases, n, H, W, rate, least, most,
    C: tl.constexpr, WIDE: tl.constexpr, HIDDEN: tl.constexpr, F: tl.constexpr, LAYERS: tl.constexpr,
    WRAP: tl.constexpr, DRAWS: tl.constexpr, OPERANDS: tl.constexpr, BLOCK: tl.constexpr,
    CONSTRAINT: tl.constexpr,
):  # fmt: skip
    b = tl.program_id(1)
    if tl.load(occupied + b) == 0:
        return
    cell = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    y, x = cell // W, cell % W
    channel = tl.arange(0, WIDE)
    shown = (cell < H * W)[:, None] & (channel < C)[None, :]
    universe = now + b.to(tl.int64) * H * W * C
    here = tl.load(universe + cell[:, None] * C + channel[None, :], mask=shown, other=0.0)

    if F == 0:
        sums = _product(here, _matrix(weights, WIDE, HIDDEN), OPERANDS)
    else:
        p0 = tl.zeros([BLOCK, WIDE], tl.float32)
        p1, p2, p3 = p0, p0, p0
        for t in range(9):  # not unrolled, or all nine fill the registers
            near = _near(universe, y, x, t // 3 - 1, t % 3 - 1, H, W, channel, shown, C, WRAP)
            at = stencil + t * WIDE + channel
            p0 += near * tl.load(at)[None, :]
            if F == 4:
                p1 += near * tl.load(at + 9 * WIDE)[None, :]
                p2 += near * tl.load(at + 18 * WIDE)[None, :]
                p3 += near * tl.load(at + 27 * WIDE)[None, :]
        sums = _product(p0, _matrix(weights, WIDE, HIDDEN), OPERANDS)
        if F == 4:
            sums += _product(p1, _matrix(weights + WIDE * HIDDEN, WIDE, HIDDEN), OPERANDS)
            sums += _product(p2, _matrix(weights + 2 * WIDE * HIDDEN, WIDE, HIDDEN), OPERANDS)
            sums += _product(p3, _matrix(weights + 3 * WIDE * HIDDEN, WIDE, HIDDEN), OPERANDS)
        weights += (F - 1) * WIDE * HIDDEN
    weights += WIDE * HIDDEN
    hidden = tl.arange(0, HIDDEN)
    h = _elu(sums + tl.load(biases + hidden)[None, :])
    for layer in tl.static_range(1, LAYERS - 1):
        sums = _product(h, _matrix(weights, HIDDEN, HIDDEN), OPERANDS)
        h = _elu(sums + tl.load(biases + layer * HIDDEN + hidden)[None, :])
        weights += HIDDEN * HIDDEN
    change = _product(h, _matrix(weights, HIDDEN, WIDE), OPERANDS)
    change += tl.load(biases + (LAYERS - 1) * HIDDEN + channel)[None, :]

    if DRAWS:  # Philox4x32-10 of leym/physics/philox.py
        key = tl.load(seed + b) ^ (-9223372036854775807 - 1)  # stream 1: the top bit of the key
        step = tl.load(clock + b) + n
        low, high = (step & 0xFFFFFFFF).to(tl.uint32), (step >> 32).to(tl.uint32)
        word, _, _, _ = tl.philox(key, cell.to(tl.uint32), cell.to(tl.uint32) * 0, low, high)
        drawn = (word >> 8).to(tl.float32) * 5.9604644775390625e-8
        change = tl.where((drawn < rate)[:, None], change, 0.0)

    phi = tl.where(shown, here + change - tl.load(gamma + b) * here, 0.0)
    norm = tl.sqrt(tl.sum(phi * phi, axis=1))
    out = after + b.to(tl.int64) * H * W * C
    if CONSTRAINT == 0:
        phi = phi / (norm + 1e-9)[:, None]
    elif CONSTRAINT == 2:
        phi = tl.minimum(tl.maximum(phi, least), most)
    tl.store(out + cell[:, None] * C + channel[None, :], phi, mask=shown)
    whole = tl.min((norm < float("inf")).to(tl.int32), axis=0)  # false for what is no number, too
    tl.atomic_min(finite + b, whole)


def serves(law: PerCellWeights, operands: torch.dtype) -> bool:
    """Return whether the kernel supports the law and keeps it in the registers and shared memory of a GPU.

    Float32 is left to torch.compile: it is multiplied without tensor cores, and spills.
    """
    hidden, wide = {_side(weight.shape[0]) for weight, _ in law.layers[:-1]}, _side(law.layers[-1][0].shape[0])
    most = HIDDEN_MOST_OF_TWO_LAYERS if len(law.layers) == 2 else HIDDEN_MOST
    written = _filters(law) in FILTERS and len(hidden) == 1
    return written and operands.itemsize == 2 and wide <= WIDE_MOST and max(hidden) <= most


class TritonCells:
    """A per-cell law whose weights are laid out for the kernel, on their device, in the dtype `operands`."""

    def __init__(
        self,
        law: PerCellWeights,
        operands: torch.dtype,
        constraint: Literal["unit", "none"] | Box = "unit",
        *,
        block: int = BLOCK,
        warps: int = WARPS,
    ):
        """Lay out the weights.

        Raises:
            ValueError: the kernel does not support the law.
        """
        self.channels, first = law.layers[-1][0].shape[0], law.layers[0][0]
        self.filters = _filters(law)
        hidden = {weight.shape[0] for weight, _ in law.layers[:-1]}
        if self.filters not in FILTERS or len(hidden) != 1:
            raise ValueError(f"{self.filters} filters, hidden widths {sorted(hidden)}: no fused kernel")
        self.block, self.warps = block, warps
        self.constraint, self.low, self.high = constraint_code(constraint)
        self.layers, self.rate, self.periodic = len(law.layers), law.update_rate, law.periodic
        self.wide, self.hidden = (_side(n) for n in (self.channels, *hidden))
        self.operands = getattr(tl, str(operands).removeprefix("torch."))
        lots = first.float().unflatten(1, (self.channels, -1)).permute(2, 1, 0)  # [filter, channel, hidden]
        matrices = [_padded(lots, self.wide, self.hidden).flatten(0, 1)]
        matrices += [_padded(w.float().T, self.hidden, self.hidden) for w, _ in law.layers[1:-1]]
        matrices += [_padded(law.layers[-1][0].float().T, self.hidden, self.wide)]
        self._weights = torch.cat([m.flatten() for m in matrices]).to(operands).contiguous()
        biases = [_padded(b.float()[None], 1, self.hidden) for _, b in law.layers[:-1]]
        self._biases = torch.cat([*biases, _padded(law.layers[-1][1].float()[None], 1, self.wide)], 1).flatten()
        stencil = first.new_zeros(1, dtype=torch.float32)
        if law.filters is not None:
            stencil = _padded(law.filters.float().flatten(2).transpose(1, 2), 9, self.wide).contiguous()
        self._stencil = stencil

    def advance(self, tensors: BatchTensors, steps: int) -> None:
        """Advance the occupied rows, in place; the states of empty slots are undefined afterwards.

        Every call launches the same kernels for the same `steps`, so that it can be captured.

        Raises:
            ValueError: the state has other channels than the law, or another memory format than channels last.
        """
        state = tensors.state
        batch, channels, height, width = state.shape
        if channels != self.channels or not state.is_contiguous(memory_format=torch.channels_last):
            raise ValueError(f"state {tuple(state.shape)}: expected {self.channels} channels, channels last")
        other = torch.empty_like(state)
        finite = torch.ones(steps, batch, dtype=torch.int32, device=state.device)
        sides, grid = (state, other), (triton.cdiv(height * width, self.block), batch)
        for n in range(steps):
            _step[grid](
                sides[n % 2], sides[1 - n % 2], finite[n], tensors.gamma, tensors.seed, tensors.clock, tensors.occupied,
                self._stencil, self._weights, self._biases, n, height, width, self.rate,
                self.low, self.high,
                C=channels, WIDE=self.wide, HIDDEN=self.hidden, F=self.filters, LAYERS=self.layers,
                WRAP=self.periodic, DRAWS=self.rate < 1, OPERANDS=self.operands, BLOCK=self.block,
                CONSTRAINT=self.constraint, num_warps=self.warps,
            )  # fmt: skip
        if steps % 2:
            state.copy_(other)
        tensors.clock.add_(steps)
        tensors.good.add_(finite.sum(0))


def _filters(law: PerCellWeights) -> int:
    return 0 if law.filters is None else law.filters.shape[0]


def _side(n: int) -> int:
    """Return the side that a matrix with n rows or columns has in the kernel."""
    return max(LEAST, int(triton.next_power_of_2(n)))


def _padded(x: Tensor, rows: int, columns: int) -> Tensor:
    """Append zeros to the last two dimensions, up to these sizes."""
    return torch.nn.functional.pad(x, (0, columns - x.shape[-1], 0, rows - x.shape[-2]))
