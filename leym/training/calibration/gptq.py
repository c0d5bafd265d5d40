"""Rounds a kernel onto the NF4 levels column by column, and lets later columns make up for the errors of earlier ones.

    H = mean of u uᵀ over the layer's inputs + damping,   U = upper Cholesky factor of H⁻¹
    for each column k:   q_k = level nearest to w_k;   e = (w_k - q_k) / U_kk;   w_j ← w_j - e U_kj for j > k

This minimises (approximately) the mean of |W u - Q u|², the error of the layer's output, instead of |W - Q|². Source:
Frantar et al. 2022, "GPTQ", arXiv 2210.17323, algorithm 1. Here the levels are those of NF4 times the scale of each
block, which `absmax.py` searches beforehand; bytes and format do not change. With inputs u of the already quantised
network, each layer also sees the errors of those before it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from leym.quantization.nf4 import LEVELS, NF4
from leym.training.calibration.absmax import nearest, search_absmax
from leym.training.calibration.layers import Layer, per_weight

DAMPING = 0.01  # of the mean of H's diagonal


@dataclass(frozen=True)
class Rounded:
    """A rounded kernel.

    Attributes:
        code: Its code.
        aimed: What each weight was when it was rounded, errors of earlier columns included: float32 [R, K].
    """

    code: NF4
    aimed: Tensor


def encode(layer: Layer, kernel: Tensor, h: Tensor) -> Rounded:
    """Encode a kernel under searched scales.

    Args:
        layer: The layer.
        kernel: Its fp32 kernel.
        h: Mean of u uᵀ, float64 [K, K].
    """
    matrix = layer.matrix(kernel)
    flat = layer.to_flat(matrix)
    absmax = search_absmax(flat, layer.to_flat(h.diagonal().float().expand_as(matrix)))
    indices, aimed = round_columns(matrix, layer.from_flat(per_weight(absmax, flat.numel())), h)
    return Rounded(NF4.from_indices(layer.to_flat(indices), absmax, layer.shape), aimed)


def round_columns(matrix: Tensor, scales: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
    """Round W onto levels times scales.

    Args:
        matrix: W, float [R, K].
        scales: Scale of each weight, float [R, K].
        h: Mean of u uᵀ, float64 [K, K].

    Returns:
        Indices of the levels, int64 [R, K], and the weights as they were rounded, float32 [R, K].
    """
    w, scales = matrix.double().clone(), scales.double()
    upper = inverse_factor(h)
    indices = torch.zeros_like(matrix, dtype=torch.int64)
    for k in range(w.shape[1]):
        scale = scales[:, k]
        indices[:, k] = nearest((w[:, k] / torch.where(scale > 0, scale, 1.0)).float())
        error = (w[:, k] - LEVELS[indices[:, k]].double() * scale) / upper[k, k]
        w[:, k + 1 :] -= error[:, None] * upper[k, k + 1 :]
    return indices, w.float()


def aimed_at_output(matrix: Tensor, h: Tensor, cross: Tensor) -> Tensor:
    """Return the W' that keeps the layer's output, although its inputs are those of the quantised network.

        minimise  mean |W' u - W v|² + damping |W' - W|²,   W' = W (C + damping) (H + damping)⁻¹,   C = mean of v uᵀ

    Source: "GPTAQ: asymmetric calibration", arXiv 2504.02692. So a layer makes good for the errors of those before it.

    Args:
        matrix: W, float32 [R, K].
        h: H, mean of u uᵀ over inputs u of the quantised network, float64 [K, K].
        cross: C, with the inputs v of the fp32 network, float64 [K, K].
    """
    damping = damping_of(h)
    if not damping.any():
        return matrix
    aimed: Tensor = torch.linalg.solve(h + damping, (cross + damping).T @ matrix.T.double()).T
    return aimed.float().contiguous()


def damping_of(h: Tensor) -> Tensor:
    """Return what is added to H so that it can be inverted, float64 [K, K]; zeros if no input is ever other than 0."""
    return DAMPING * h.diagonal().mean() * torch.eye(len(h), dtype=torch.float64)


def inverse_factor(h: Tensor) -> Tensor:
    """Return the upper Cholesky factor of the inverse of H with damping, float64 [K, K]; the identity for H = 0."""
    damping = damping_of(h)
    if not damping.any():
        return torch.eye(len(h), dtype=torch.float64)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(h + damping))
    upper: Tensor = torch.linalg.cholesky(inverse, upper=True)
    return upper
