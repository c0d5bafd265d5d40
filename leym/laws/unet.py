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

from torch import Tensor, nn

from leym.laws.blocks import Conv, ConvBlock, UpConv, down, join


class UNet(nn.Module):
    """x: float [B, 2d, H, W], H and W divisible by 4 -> y: [B, 2d, H, W]."""

    def __init__(self, d_state: int, hidden_channels: int):
        super().__init__()
        d, c = d_state, hidden_channels
        self.inc = ConvBlock(2 * d, c)
        self.down1 = down(c, 2 * c)
        self.down2 = down(2 * c, 4 * c)
        self.bot = ConvBlock(4 * c, 8 * c)
        self.up1 = UpConv(8 * c, 4 * c, 2, stride=2)
        self.conv_up1 = ConvBlock(6 * c, 4 * c)
        self.up2 = UpConv(4 * c, 2 * c, 2, stride=2)
        self.conv_up2 = ConvBlock(3 * c, c)
        self.outc = Conv(c, 2 * d, 1)

    def forward(self, x: Tensor) -> Tensor:
        x1 = self.inc(x)
        x2 = self.down1(x1)
        x3 = self.down2(x2)
        k1 = self.conv_up1(join(self.up1(self.bot(x3)), x2))
        k2 = self.conv_up2(join(self.up2(k1), x1))
        y: Tensor = self.outc(k2)
        return y
