"""Hands the weights of a per-cell law to fused kernels.

A per-cell law is a stencil followed by a small network that is applied to every cell alone. Such a network offers
`per_cell_weights()`, and a fused kernel then computes whole steps without storing what lies between the layers.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class PerCellWeights:
    """A per-cell network as numbers.

    Attributes:
        filters: float [F, C, 3, 3], F stencils for each of C channels. None: the network sees only the cell itself.
        periodic: Whether stencils wrap around the edges of the grid; otherwise they see zeros there.
        layers: (weight [out, in], bias [out]) of each layer, with ELU between two layers. The inputs of the first are
            the F values of channel 0, then those of channel 1, and so on.
        update_rate: Share of the cells that change in a step.
    """

    filters: Tensor | None
    periodic: bool
    layers: list[tuple[Tensor, Tensor]]
    update_rate: float = 1.0


def pointwise_layers(net: nn.Sequential) -> list[tuple[Tensor, Tensor]]:
    """Return (weight [out, in], bias [out]) of every 1x1 convolution with a bias in `net`, in order."""
    return [(m.weight.flatten(1), m.bias) for m in net if isinstance(m, nn.Conv2d) and m.bias is not None]


def stencils_by_filter(weight: Tensor, channels: int) -> Tensor:
    """Reorder the weight [C * F, 1, 3, 3] of a depthwise convolution on C channels to [F, C, 3, 3]."""
    return weight.reshape(channels, -1, 3, 3).transpose(0, 1)
