"""Networks of cells that know only themselves and their neighbours, and bursts of the fused kernel."""

from __future__ import annotations

import torch

from leym.engine.step.batch_tensors import BatchTensors
from leym.engine.step.per_cell_cpu import FusedCells
from leym.laws.networks.deep_qca import DeepQCA
from leym.laws.networks.deep_qca_five_layers import DeepQCAFiveLayers
from leym.laws.networks.mlp import MLP
from leym.laws.networks.nca import NCA

CLOCK = [0, 5, 2**33]
SEED = [7, 2**63 - 1, 0]


def nca(d: int, h: int, **options) -> NCA:
    return NCA(d, h, **({"perception": "fixed", "padding": "zero", "update_rate": 1.0} | options))


NETWORKS = {
    "NCA": lambda: nca(8, 128),
    "NCA, learned filters, periodic": lambda: nca(2, 20, perception="learned", padding="periodic"),
    "NCA that draws": lambda: nca(3, 17, update_rate=0.5, padding="periodic"),
    "MLP": lambda: MLP(8, 64),
    "MLP, odd sizes": lambda: MLP(3, 7),
    "DEEP_QCA": lambda: DeepQCA(2, 24),
    "DEEP_QCA, folded": lambda: DeepQCA(8, 40).folded(),
    "DEEP_QCA_FIVE_LAYERS": lambda: DeepQCAFiveLayers(3, 12).folded(),
    "DEEP_QCA, many channels": lambda: DeepQCA(9, 33).folded(),
}


def universes(channels: int, grid: tuple[int, int] = (10, 53)) -> torch.Tensor:
    x = torch.randn(3, channels, *grid).contiguous(memory_format=torch.channels_last)
    return x / x.square().sum(1, keepdim=True).sqrt()


def copy(x: torch.Tensor) -> torch.Tensor:
    return x.clone(memory_format=torch.channels_last)


def tensors_of(x: torch.Tensor, which: list[int]) -> BatchTensors:
    """These universes, with a seed, a clock and a gamma of their own each."""
    which_of = [torch.tensor(values)[which].clone() for values in ([0.0, 0.01, 0.2], SEED, CLOCK, [0] * 3, [1] * 3)]
    gamma, *numbers = which_of
    return BatchTensors(copy(x[which]), torch.zeros(len(which), 0), gamma.view(-1, 1, 1, 1), *numbers)


def fused(
    network,
    x: torch.Tensor,
    bursts: list[int],
    which: list[int] | None = None,
    operands=torch.float32,
    constraint="unit",
):
    """(state, clock, good) after these bursts of the universes `which`."""
    tensors = tensors_of(x, [0, 1, 2] if which is None else which)
    kernel = FusedCells(network.per_cell_weights(), operands, constraint)
    for steps in bursts:
        kernel.advance(tensors, steps)
    return tensors.state, tensors.clock, tensors.good
