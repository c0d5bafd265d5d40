"""UNET and UNET_UNITARY: one U-Net; the two names differ only in how y becomes the update.

    x1 = inc(x)                                      2d -> c     H
    x2 = down1(x1)                                   c  -> 2c    H/2
    x3 = down2(x2)                                   2c -> 4c    H/4
    b  = bot(x3)                                     4c -> 8c    H/4     (there is no third pooling)
    k1 = conv_up1([up1(b), x2])                      6c -> 4c    H/2
    k2 = conv_up2([up2(k1), x1])                     3c -> c     H
    y  = outc(k2)                                    c  -> 2d    H

| Form    | UNET additive, UNET_UNITARY diagonal                                              |
| Reach   | global, by GroupNorm                                                              |
| Grid    | height and width divisible by 4                                                   |
| Memory  | none                                                                              |
| Options | none                                                                              |
| Source  | Atheria, classes `UNet` and `UNetUnitary` (src/models/unet.py, unet_unitary.py);  |
|         | same keys                                                                         |

Nothing in UNET_UNITARY is unitary: the norm of a cell is kept by the renormalisation of the step.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from leym.laws.networks.blocks import Conv, ConvBlock, Norm, UpConv, concatenate, down_block


class UNet(nn.Module):
    """Maps x, float [B, 2d, H, W], to y, float [B, 2d, H, W], H and W divisible by 4.

    Subclasses change `norm`, the number of outputs, or what happens between `encode` and `decode`.
    """

    norm: Callable[[int], nn.Module] = Norm

    def __init__(self, d_state: int, hidden_channels: int, *, outputs: int | None = None):
        super().__init__()
        d, c, norm = d_state, hidden_channels, type(self).norm
        self.inc = ConvBlock(2 * d, c, norm)
        self.down1 = down_block(c, 2 * c, norm)
        self.down2 = down_block(2 * c, 4 * c, norm)
        self.bot = ConvBlock(4 * c, 8 * c, norm)
        self.up1 = UpConv(8 * c, 4 * c, 2, stride=2)
        self.conv_up1 = ConvBlock(6 * c, 4 * c, norm)
        self.up2 = UpConv(4 * c, 2 * c, 2, stride=2)
        self.conv_up2 = ConvBlock(3 * c, c, norm)
        self.outc = Conv(c, outputs or 2 * d, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Compute y = f(x)."""
        x1, x2, x3 = self.encode(x)
        return self.decode(self.bot(x3), x2, x1)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return x1 [B, c, H, W], x2 [B, 2c, H/2, W/2] and x3 [B, 4c, H/4, W/4]."""
        x1 = self.inc(x)
        x2 = self.down1(x1)
        return x1, x2, self.down2(x2)

    def decode(self, b: Tensor, x2: Tensor, x1: Tensor) -> Tensor:
        """Map the bottleneck b [B, 8c, H/4, W/4] and the skip connections to y."""
        k1 = self.conv_up1(concatenate(self.up1(b), x2))
        k2 = self.conv_up2(concatenate(self.up2(k1), x1))
        y: Tensor = self.outc(k2)
        return y
