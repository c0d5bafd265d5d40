"""Layers that the networks share.

Weights may be held in 16 bits while norms and states stay in 32: each layer casts at its own door.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Conv(nn.Conv2d):
    """A convolution whose operands take the dtype of its weight."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.to(self.weight.dtype))


class UpConv(nn.ConvTranspose2d):
    """A 2x2, stride 2 transposed convolution whose operands take the dtype of its weight."""

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        return super().forward(x.to(self.weight.dtype), output_size)


class Norm(nn.GroupNorm):
    """GroupNorm in float32 whatever the dtype of its input.

    The statistics are global in space: such a law is not local.
    """

    def __init__(self, channels: int):
        super().__init__(groups_of(channels), channels, eps=1e-5)

    def forward(self, x: Tensor) -> Tensor:
        return F.group_norm(x.float(), self.num_groups, self.weight, self.bias, self.eps)


def groups_of(channels: int) -> int:
    """n // 8 groups above 8 channels, if that divides n; else one."""
    groups = channels // 8 if channels > 8 else 1
    return groups if channels % groups == 0 else 1


class ConvBlock(nn.Module):
    """Twice: Conv 3x3 (zero padding, no bias), norm, ELU. The indices 0 … 5 are key names of existing checkpoints."""

    def __init__(self, inputs: int, outputs: int, norm: Callable[[int], nn.Module] = Norm):
        super().__init__()
        self.conv_block = nn.Sequential(
            Conv(inputs, outputs, 3, padding=1, bias=False),
            norm(outputs),
            nn.ELU(),
            Conv(outputs, outputs, 3, padding=1, bias=False),
            norm(outputs),
            nn.ELU(),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv_block(x)
        return out


def down(inputs: int, outputs: int, norm: Callable[[int], nn.Module] = Norm) -> nn.Sequential:
    """Halve the grid by 2x2 maxima, then a ConvBlock."""
    return nn.Sequential(nn.MaxPool2d(2), ConvBlock(inputs, outputs, norm))


def join(*parts: Tensor) -> Tensor:
    """Concatenate along the channels, in the dtype of the first part."""
    return torch.cat([p.to(parts[0].dtype) for p in parts], dim=1)
