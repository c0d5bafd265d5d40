"""Layers shared by the networks.

Weights may be held in 16 bits while norms and states stay in float32, so every layer casts its own input.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import group_norm


class Conv(nn.Conv2d):
    """A 2-D convolution that casts its input to the dtype of its weight."""

    def forward(self, x: Tensor) -> Tensor:
        """Convolve x [B, C, H, W]."""
        return super().forward(x.to(self.weight.dtype))


class UpConv(nn.ConvTranspose2d):
    """A transposed 2-D convolution that casts its input to the dtype of its weight."""

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Upsample x [B, C, H, W]; with kernel 2 and stride 2 to twice the height and width."""
        return super().forward(x.to(self.weight.dtype), output_size)


class Norm(nn.GroupNorm):
    """GroupNorm that computes in float32, whatever the dtype of its input.

    Its statistics cover the whole grid, so a law with this layer has a global reach.
    """

    def __init__(self, channels: int):
        super().__init__(group_count(channels), channels, eps=1e-5)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise x [B, C, H, W] and return float32."""
        return group_norm(x.float(), self.num_groups, self.weight, self.bias, self.eps)


def group_count(channels: int) -> int:
    """Return the number of groups of a GroupNorm: channels // 8 above 8 channels if that divides them, else 1."""
    groups = channels // 8 if channels > 8 else 1
    return groups if channels % groups == 0 else 1


class ConvBlock(nn.Module):
    """Applies twice: Conv 3x3 (zero padding, no bias), norm, ELU.

    The positions 0 to 5 in `conv_block` are part of the keys of existing checkpoints.
    """

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
        """Map x [B, inputs, H, W] to [B, outputs, H, W]."""
        y: Tensor = self.conv_block(x)
        return y


def down_block(inputs: int, outputs: int, norm: Callable[[int], nn.Module] = Norm) -> nn.Sequential:
    """Make a block that halves the grid by 2x2 max pooling and applies a ConvBlock."""
    return nn.Sequential(nn.MaxPool2d(2), ConvBlock(inputs, outputs, norm))


def concatenate(*parts: Tensor) -> Tensor:
    """Concatenate tensors [B, C_i, H, W] along the channels, in the dtype of the first."""
    return torch.cat([part.to(parts[0].dtype) for part in parts], dim=1)
