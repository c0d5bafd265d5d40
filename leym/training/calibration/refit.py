"""Refits the scales and biases behind quantised layers, so that each channel keeps its mean and its spread.

    norm  y = g x̂ + b:   g' = g sd(y) / sd(y'),   b' = b + mean(y) - mean(y' g'/g)      b, b' only where there is one
    layer y = W u + b:    b' = b + mean(y) - mean(y')

y: output of the fp32 network, y': that of the quantised one, over cells and states of the fp32 law's attractor, channel
by channel. Spreads are matched rather than least squares solved, because the slope of a regression shrinks with the
noise of rounding, and a channel that shrinks in every step damps the law.

Sources: Li et al. 2023, "Norm Tweaking", arXiv 2309.02784; Nagel et al. 2019, "Data-free quantization through weight
equalization and bias correction", arXiv 1906.04721. Norms and biases are stored in fp32 in any case: no byte is added.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from leym.laws.bundle import Bundle
from leym.quantization.policy import role_of
from leym.training.calibration.network import observed
from leym.training.calibration.states import Visited


def refit(
    law: Bundle,
    name: str,
    parent: nn.Module,
    module: nn.Module,
    teacher: nn.Module,
    student: nn.Module,
    states: Visited,
) -> dict[str, Tensor]:
    """Refit the vectors of one module in place.

    Args:
        law: The law.
        name: Name of the module.
        parent: The module in the fp32 network.
        module: The module in the quantised network.
        teacher: The fp32 network.
        student: The quantised network.
        states: Of the fp32 law's attractor.

    Returns:
        Key -> new value, float32, of the vectors that changed.
    """
    vectors = {
        part: value
        for part, value in module.named_parameters(recurse=False)
        if role_of(law.manifest, f"{name}.{part}", tuple(value.shape)) == "vector"
    }
    if not vectors:
        return {}
    wanted = moments(torch.cat(list(observed(law, teacher, parent, states, output=True))))
    found = moments(torch.cat(list(observed(law, student, module, states, output=True))))
    gain = torch.ones_like(wanted[0])
    if "weight" in vectors:  # a norm
        gain = torch.where(found[1] > 0, wanted[1] / found[1].clamp_min(1e-30), 1.0)
        vectors["weight"].data *= gain
    if "bias" in vectors:
        bias = vectors["bias"]
        bias.data = wanted[0] - gain * (found[0] - bias)
    return {f"{name}.{part}": value.detach().clone() for part, value in vectors.items()}


def moments(y: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of each channel of y [N, C, H, W], float32 [C]."""
    deviation, mean = torch.std_mean(y.double(), dim=(0, 2, 3))
    return mean.float(), deviation.float()
