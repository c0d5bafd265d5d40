"""What a per-cell law computes, as numbers: for kernels that do a whole step at once."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class Cells:
    """filters: float [F, C, 3, 3], F stencils of each of C channels, or None: the cell alone.

    periodic: what a filter sees beyond the edge; else zeros. layers: (weight [out, in], bias [out]), ELU between them;
    the first takes the F values of channel 0, then those of channel 1 and so on. rate: of cells that move in a step.
    """

    filters: Tensor | None
    periodic: bool
    layers: list[tuple[Tensor, Tensor]]
    rate: float = 1.0


def layers_of(net: nn.Sequential) -> list[tuple[Tensor, Tensor]]:
    """Of its 1x1 convolutions with a bias; what is between them is left out."""
    return [(m.weight.flatten(1), m.bias) for m in net if isinstance(m, nn.Conv2d) and m.bias is not None]
