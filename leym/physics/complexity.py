"""Complexity measures of a frame: multiscale, ordinal patterns, compression, and Lempel-Ziv of a series (M6 to M8).

A field is float32 [..., H, W]; `leym.fidelity.metrics` chooses which field a measure reads (channel entropy, or the
share of channel 0).
"""

from __future__ import annotations

import zlib
from itertools import permutations
from math import log, pi

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from leym.physics.structure import channel_power

LEVELS = 16  # quantisation levels before compression: p over [0, 1], relative phase over [-pi, pi]
ZLIB_LEVEL = 6
RESOLUTION = 1e4  # distinct values per unit when cells are ordered
PATTERNS = 24  # orders of four numbers


def multiscale(field: Tensor) -> Tensor:
    """Return the structural complexity of a field over all scales: [..., H, W] -> [...].

    C = sum_k |O_(k,k+1) - (O_(k,k) + O_(k+1,k+1)) / 2|, where layer k + 1 holds the 2 x 2 block means of layer k and
    O_(k,l) is the mean over cells of the product of layers k and l (Bagrov et al., PNAS 117, 30241 (2020),
    doi 10.1073/pnas.2004976117). Odd last rows and columns are cut off at each scale.
    """
    layer = field.reshape(-1, 1, *field.shape[-2:])
    total = torch.zeros(layer.shape[0], dtype=field.dtype)
    while min(layer.shape[-2:]) >= 2:
        h, w = (side // 2 * 2 for side in layer.shape[-2:])
        layer = layer[..., :h, :w]
        coarse = avg_pool2d(layer, 2)
        up = coarse.repeat_interleave(2, -2).repeat_interleave(2, -1)
        o = [(a * b).mean((1, 2, 3)) for a, b in ((layer, up), (layer, layer), (up, up))]
        total += (o[0] - (o[1] + o[2]) / 2).abs()
        layer = coarse
    return total.view(field.shape[:-2])


def permutation_entropy(field: Tensor) -> tuple[Tensor, Tensor]:
    """Return permutation entropy H and statistical complexity C of the 2 x 2 windows of a field.

    With P the frequencies of the 24 orders of the four values of a window: H = -sum P log P / log 24 and
    C = H JSD(P, uniform) / max JSD (Ribeiro et al., PLoS ONE 7, e40689 (2012)). Values are rounded to 10^-4 first, so
    that a flat field is not ordered by its rounding errors; equal values are ordered by their position in the window.

    Args:
        field: values in [0, 1], float32 [..., H, W].

    Returns:
        H and C, float32 [...] each.
    """
    field = (field * RESOLUTION).round()
    windows = torch.stack(
        [field[..., :-1, :-1], field[..., :-1, 1:], field[..., 1:, :-1], field[..., 1:, 1:]], dim=-1
    ).flatten(-3, -2)
    order = windows.argsort(dim=-1, stable=True)
    code = (order * torch.tensor([64, 16, 4, 1])).sum(-1)
    known = torch.zeros(256, dtype=torch.long)
    for i, (a, b, c, e) in enumerate(permutations(range(4))):
        known[a * 64 + b * 16 + c * 4 + e] = i
    counts = torch.zeros(*code.shape[:-1], PATTERNS, dtype=torch.float64)
    counts.scatter_add_(-1, known[code], torch.ones_like(code, dtype=torch.float64))
    p = counts / counts.sum(-1, keepdim=True)
    entropy = _shannon(p) / log(PATTERNS)
    mixed = _shannon((p + 1 / PATTERNS) / 2) - _shannon(p) / 2 - log(PATTERNS) / 2
    n = PATTERNS
    largest = -((n + 1) / n * log(n + 1) - 2 * log(2 * n) + log(n)) / 2
    return entropy.float(), (entropy * mixed / largest).float()


def compression(psi: Tensor) -> Tensor:
    """Return compressed bytes / bytes of each quantised frame: complex64 [..., H, W, d] -> [...].

    A quantised frame holds p_c and arg psi_c - arg psi_0 in 16 levels, one byte per number, channel by channel; zlib
    compresses it at level 6 (Zenil, Complex Systems 19, 1 (2010)). Phases relative to channel 0 make the ratio
    invariant under a global phase. Ratios are comparable only for the same compressor and grid.
    """
    p = (channel_power(psi) * LEVELS).clamp(max=LEVELS - 1)
    relative = (psi[..., 1:] * psi[..., :1].conj()).angle()
    phase = ((relative + pi) / (2 * pi) * LEVELS).clamp(min=0, max=LEVELS - 1)
    planes = torch.cat([p, phase], dim=-1).to(torch.uint8).movedim(-1, -3).contiguous()
    lead = planes.shape[:-3]
    frames = planes.reshape(-1, *planes.shape[-3:]).numpy()
    ratios = [len(zlib.compress(frame.tobytes(), ZLIB_LEVEL)) / frame.nbytes for frame in frames]
    return torch.tensor(ratios).view(lead)


def lz76(symbols: list[int]) -> float:
    """Return the Lempel-Ziv complexity of a series, c(n) log2 n / n, with c the number of phrases of its history.

    A phrase is the shortest piece that has not occurred before; the earlier occurrence may run into the phrase itself
    (Lempel & Ziv 1976, Kaspar & Schuster 1987). The value is near 0 for a constant series, and near the entropy per
    symbol in bits for noise.
    """
    n, start, phrases = len(symbols), 0, 0
    text = "".join(map(chr, symbols))
    while start < n:
        end = start + 1
        while end < n and text.find(text[start:end], 0, end - 1) >= 0:
            end += 1
        phrases += 1
        start = end
    return phrases * log(n, 2) / n if n > 1 else 0.0


def _shannon(p: Tensor) -> Tensor:
    entropy: Tensor = -torch.special.xlogy(p, p).sum(-1)
    return entropy
