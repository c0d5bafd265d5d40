"""Improves a rounded kernel by coordinate descent: one level, or one block's scale, at a time.

    minimise  L(Q) = mean |Q u - W u|² + damping |Q - W|² = tr((Q - W) H (Q - W)ᵀ),   G = (Q - W) H
    levels:   for each column k, with all others as they are:   q_k ← level nearest to q_k - G_k / H_kk
    scales:   for each block with levels l, Q = s l:            s ← s - <l, G> / <l, l H>

Each step is the exact minimum over what it changes, so the error never grows. It ends where no level of a weight and no
scale of a block can be changed alone for the better. Source: coordinate descent after GPTQ, as in "QuantEase", arXiv
2309.01885; here the grid is that of NF4, and its scales take part.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from leym.quantization.nf4 import BLOCK, LEVELS, NF4
from leym.training.calibration import gptq
from leym.training.calibration.absmax import nearest
from leym.training.calibration.layers import Layer, per_weight

ROUNDS = 4  # of levels and scales in turn
PASSES = 10  # over the levels in a round, at most


def encode(layer: Layer, kernel: Tensor, h: Tensor) -> gptq.Rounded:
    """Encode a kernel as `gptq.encode` does, and descend from there.

    Args:
        layer: The layer.
        kernel: Its kernel, float32.
        h: Mean of u uᵀ over its inputs, float64 [K, K].
    """
    rounded = gptq.encode(layer, kernel, h)
    damping = gptq.damping_of(h)
    if not damping.any():
        return rounded
    descent = _Descent(layer, layer.matrix(kernel).double(), h + damping, rounded.code)
    for _ in range(ROUNDS):
        descent.choose_levels()
        descent.fit_scales()
    descent.choose_levels()
    return gptq.Rounded(descent.code(), rounded.aimed)


@dataclass
class _Descent:
    """The code that descends.

    Attributes:
        layer: Its layer.
        w: The kernel W, float64 [R, K].
        h: H with damping, float64 [K, K].
        start: The code to begin with.
    """

    layer: Layer
    w: Tensor
    h: Tensor
    start: NF4

    def __post_init__(self) -> None:
        self.indices = self.layer.from_flat(self.start.indices.long()).clone()
        self.absmax = self.start.absmax.float().clone()
        self._set_scales()

    def _set_scales(self) -> None:
        n = self.w.numel()
        self.scales = self.layer.from_flat(per_weight(self.absmax, n)).double()
        self.q = LEVELS[self.indices].double() * self.scales
        self.gradient = (self.q - self.w) @ self.h

    def choose_levels(self) -> None:
        """Change the levels of one column after the other, until none changes."""
        for _ in range(PASSES):
            changed = False
            for k in range(self.w.shape[1]):
                scale = self.scales[:, k]
                best = self.q[:, k] - self.gradient[:, k] / self.h[k, k]
                index = nearest((best / torch.where(scale > 0, scale, 1.0)).float())
                index = torch.where(scale > 0, index, self.indices[:, k])
                step = LEVELS[index].double() * scale - self.q[:, k]
                if step.any():
                    changed = True
                    self.indices[:, k] = index
                    self.q[:, k] += step
                    self.gradient += step[:, None] * self.h[k]
            if not changed:
                return

    def fit_scales(self) -> None:
        """Change the scales of one block after the other."""
        blocks = self.layer.from_flat(torch.arange(self.w.numel()) // BLOCK)
        for block in range(len(self.absmax)):
            rows, columns = torch.nonzero(blocks == block, as_tuple=True)
            involved, place = rows.unique(return_inverse=True)
            levels = torch.zeros(len(involved), self.w.shape[1], dtype=torch.float64)
            levels[place, columns] = LEVELS[self.indices[rows, columns]].double()
            moved = levels @ self.h
            curvature = (levels * moved).sum()
            before = self.absmax[block].double()
            if curvature > 0 and before > 0:
                after = (before - (levels * self.gradient[involved]).sum() / curvature).float()
                if after > 0:
                    self.absmax[block] = after
                    self.gradient[involved] += (after.double() - before) * moved
        self._set_scales()

    def code(self) -> NF4:
        """Return the code as it is now."""
        return NF4.from_indices(self.layer.to_flat(self.indices), self.absmax, self.layer.shape)
