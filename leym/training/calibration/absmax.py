"""Searches the scale of each NF4 block by the error that it leaves in the layer's output.

    s_b = argmin over f of  sum over weights of block b of  h_k (w - s q)²,   s = f max |w|,  f in [0.7, 1.05]
    h_k = mean of u_k² over the layer's inputs u on the law's attractor; q: the level nearest to w / s

Nearest rounding takes f = 1. The largest weight of a block need not be a level: clipping it a little makes the other 63
finer. h is the diagonal of the Hessian of the layer's squared error. Source: the loss of NormalFloat in Dettmers et al.
2023 (arXiv 2305.14314) is data-free; weighting by activations follows Lin et al. 2023, "AWQ", arXiv 2306.00978.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from leym.quantization.nf4 import BLOCK, LEVELS, NF4
from leym.training.calibration.layers import Layer, per_weight

FACTORS = torch.linspace(0.7, 1.05, 36)
_BETWEEN = (LEVELS[1:] + LEVELS[:-1]) / 2


def nearest(ratio: Tensor) -> Tensor:
    """Return the index of the level nearest to each value, int64."""
    return torch.bucketize(ratio, _BETWEEN)


def search_absmax(flat: Tensor, importance: Tensor) -> Tensor:
    """Return the best scale of every block.

    Args:
        flat: Weights in the order of the blocks, float32 [n].
        importance: Weight h of each squared error, float32 [n].

    Returns:
        float32 [ceil(n / 64)], never below the smallest positive float: a block of zeros has scale 0.
    """
    fill = -flat.numel() % BLOCK
    blocks, h = (pad(value, (0, fill)).view(-1, BLOCK) for value in (flat, importance))
    largest = blocks.abs().amax(1)
    best, least = largest, torch.full_like(largest, torch.inf)
    for factor in [torch.tensor(1.0), *FACTORS]:  # 1 first: it wins ties
        scale = largest * factor
        safe = torch.where(scale > 0, scale, 1.0)[:, None]
        error = (h * (blocks - LEVELS[nearest(blocks / safe)] * scale[:, None]).square()).sum(1)
        better = error < least
        best, least = torch.where(better, scale, best), torch.where(better, error, least)
    return best


def encode(layer: Layer, kernel: Tensor, moments: Tensor) -> NF4:
    """Encode a kernel by the nearest level under searched scales.

    Args:
        layer: The layer.
        kernel: Its fp32 kernel.
        moments: h, the mean of u_k² of every column: float [K].
    """
    matrix = layer.matrix(kernel)
    flat = layer.to_flat(matrix)
    absmax = search_absmax(flat, layer.to_flat(moments.float().expand_as(matrix)))
    scale = per_weight(absmax, flat.numel())
    indices = nearest(flat / torch.where(scale > 0, scale, 1.0))
    return NF4.from_indices(indices, absmax, layer.shape)
