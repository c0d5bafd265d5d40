"""UNET and UNET_UNITARY: one network, weight-compatible with the checkpoints of the Atheria project (models/unet.py).

    x1 = inc(x)                    2d -> c      H
    x2 = down1(x1)                  c -> 2c     H/2
    x3 = down2(x2)                 2c -> 4c     H/4
    b  = bot(x3)                   4c -> 8c     H/4     there is no third pooling
    k1 = conv_up1([up1(b), x2])    6c -> 4c     H/2
    k2 = conv_up2([up2(k1), x1])   3c -> c      H
    y  = outc(k2)                   c -> 2d     H

The two names differ in how y becomes the update (additive or diagonal), which the manifest says.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from leym.laws.networks.blocks import Conv, ConvBlock, Norm, UpConv, down, join


class UNet(nn.Module):
    """x: float [B, 2d, H, W], H and W divisible by 4 -> y: [B, 2d, H, W].

    Its relatives have another `norm`, other outputs, or something between `encode` and `decode`.
    """

    norm: Callable[[int], nn.Module] = Norm

    def __init__(self, d_state: int, hidden_channels: int, *, outputs: int | None = None):
        super().__init__()
        d, c, norm = d_state, hidden_channels, type(self).norm
        self.inc = ConvBlock(2 * d, c, norm)
        self.down1 = down(c, 2 * c, norm)
        self.down2 = down(2 * c, 4 * c, norm)
        self.bot = ConvBlock(4 * c, 8 * c, norm)
        self.up1 = UpConv(8 * c, 4 * c, 2, stride=2)
        self.conv_up1 = ConvBlock(6 * c, 4 * c, norm)
        self.up2 = UpConv(4 * c, 2 * c, 2, stride=2)
        self.conv_up2 = ConvBlock(3 * c, c, norm)
        self.outc = Conv(c, outputs or 2 * d, 1)

    def forward(self, x: Tensor) -> Tensor:
        x1, x2, x3 = self.encode(x)
        return self.decode(self.bot(x3), x2, x1)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x1 = self.inc(x)
        x2 = self.down1(x1)
        return x1, x2, self.down2(x2)

    def decode(self, b: Tensor, x2: Tensor, x1: Tensor) -> Tensor:
        k1 = self.conv_up1(join(self.up1(b), x2))
        k2 = self.conv_up2(join(self.up2(k1), x1))
        y: Tensor = self.outc(k2)
        return y
