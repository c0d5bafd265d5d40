"""Convolutions and their inputs, for tests of calibration."""

from __future__ import annotations

import torch
from torch import nn

from leym.training.calibration.layers import Layer


def convolution(o: int, i: int, k: int, seed: int, *, transposed: bool = False) -> Layer:
    torch.manual_seed(seed)
    module = nn.ConvTranspose2d(i, o, k, stride=k) if transposed else nn.Conv2d(i, o, k, padding=k // 2)
    return Layer("layer.weight", module.requires_grad_(False))


def correlated(n: int, k: int, seed: int) -> torch.Tensor:
    """n input vectors whose components share a few causes."""
    generator = torch.Generator().manual_seed(seed)
    causes = torch.randn(n, max(1, k // 4), generator=generator)
    mixed = causes @ torch.randn(max(1, k // 4), k, generator=generator)
    return mixed + 0.1 * torch.randn(n, k, generator=generator)
