"""SNN_UNET: a network of thresholds, without snntorch and torchvision.

    s1 = [conv1(x) > 1]                              2d -> c     H
    sb = [conv_bottom(s1) > 1]                       c  -> 2c    H
    u  = shrink(upconv(sb))                          2c -> c     up to 2H, and back to H
    s2 = [conv2([u, s1]) > 1]                        2c -> c     H
    y  = [conv_out(s2) > 1]                          c  -> 2d    H

| Form    | additive, with y in {0, 1} per channel                                  |
| Reach   | local: a few cells, by its convolutions                                 |
| Grid    | any                                                                     |
| Memory  | none                                                                    |
| Options | `antialias` (true, false), required: how `shrink` interpolates          |
| Source  | Atheria, class `SNNUNet` (src/models/snn_unet.py); same keys            |

The leaky neurons of the original start every step with an empty membrane and see one input, so they have neither
memory nor reset: a current above the threshold is a spike. Their buffers stay in the checkpoint. Threshold and spike
height are read from it; `beta` and `reset_mechanism_val` have no effect. A step has no slope, so training takes that of
an arctangent in its place (W. Fang et al., "Deep residual learning in spiking neural networks", NeurIPS 2021,
arXiv:2102.04159); values are the same bits with and without. `antialias` is data because torchvision's
default changed: checkpoints trained with versions up to 0.16 need false, those of current versions true.
"""

from __future__ import annotations

from math import pi

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from leym.laws.networks.blocks import Conv, UpConv, concatenate


class Spikes(nn.Module):
    """Outputs `graded_spikes_factor` where the current is above `threshold`, else 0."""

    threshold: Tensor
    graded_spikes_factor: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name, value in (("threshold", 1.0), ("graded_spikes_factor", 1.0), ("reset_mechanism_val", 0), ("beta", 0)):
            self.register_buffer(name, torch.tensor(value, dtype=torch.float32))

    def forward(self, current: Tensor) -> Tensor:
        """Map a current [B, C, H, W] to spikes, float32 of the same shape."""
        spikes = (current.float() > self.threshold).float()
        if torch.is_grad_enabled() and current.requires_grad:
            smooth = (pi * (current.float() - self.threshold)).atan() / pi  # slope 1 at the threshold
            spikes = spikes + (smooth - smooth.detach())  # adds 0 and a gradient
        return spikes * self.graded_spikes_factor


class SNNUNet(nn.Module):
    """Maps x, float [B, 2d, H, W], to spikes y, float32 [B, 2d, H, W]."""

    def __init__(self, d_state: int, hidden_channels: int, *, antialias: bool):
        super().__init__()
        d, c = d_state, hidden_channels
        self.antialias = antialias
        self.conv1, self.lif1 = Conv(2 * d, c, 3, padding=1), Spikes()
        self.conv_bottom, self.lif_bottom = Conv(c, 2 * c, 3, padding=1), Spikes()
        self.upconv = UpConv(2 * c, c, 2, stride=2)
        self.conv2, self.lif2 = Conv(2 * c, c, 3, padding=1), Spikes()
        self.conv_out, self.lif_out = Conv(c, 2 * d, 1), Spikes()

    def forward(self, x: Tensor) -> Tensor:
        """Compute y = f(x)."""
        s1 = self.lif1(self.conv1(x))
        up = self.upconv(self.lif_bottom(self.conv_bottom(s1))).float()
        up = interpolate(up, size=x.shape[-2:], mode="bilinear", antialias=self.antialias)
        y: Tensor = self.lif_out(self.conv_out(self.lif2(self.conv2(concatenate(up, s1)))))
        return y
