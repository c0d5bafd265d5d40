"""Coordinate descent ends where no single level and no single scale can be changed for the better."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from leym.quantization.nf4 import BLOCK, LEVELS, NF4
from leym.training.calibration import descent, gptq
from leym.training.calibration.layers import Layer, per_weight
from tests.support.layers import convolution, correlated


def loss(layer: Layer, kernel: torch.Tensor, weights: torch.Tensor, h: torch.Tensor) -> float:
    """Mean of |W u - Q u|² with damping, from its definition; `weights` is Q, flat in the order of the blocks."""
    damped = h + gptq.DAMPING * h.diagonal().mean() * torch.eye(len(h), dtype=torch.float64)
    error = layer.from_flat(weights).double() - layer.matrix(kernel).double()
    return float(torch.einsum("rk,kl,rl->", error, damped, error))


def flat(code: NF4) -> torch.Tensor:
    indices = code.indices.long()
    return LEVELS[indices].double() * per_weight(code.absmax, len(indices)).double()


@settings(max_examples=12)
@given(seed=st.integers(0, 1000), transposed=st.booleans(), i=st.sampled_from([5, 8]))
def test_it_ends_below_gptq_where_no_single_change_helps(seed, transposed, i):
    layer = convolution(5, i, 2, seed, transposed=transposed)
    kernel = layer.module.weight
    u = correlated(300, layer.matrix(kernel).shape[1], seed)
    h = (u.T @ u).double() / len(u)
    code = descent.encode(layer, kernel, h).code
    found = loss(layer, kernel, flat(code), h)
    assert found <= loss(layer, kernel, flat(gptq.encode(layer, kernel, h).code), h) * (1 + 1e-9)
    scales = per_weight(code.absmax, kernel.numel()).double()
    for at in range(kernel.numel()):
        for level in LEVELS.double():
            changed = flat(code)
            changed[at] = level * scales[at]
            assert loss(layer, kernel, changed, h) >= found * (1 - 1e-6)
    assert len(code.absmax) == -(-kernel.numel() // BLOCK)


def test_it_shrinks_the_error_of_correlated_inputs():
    """Without it, the scales are those that fit the weights; of 20 kernels, each must gain, and together a tenth."""
    ratios = []
    for seed in range(20):
        layer = convolution(16, 24, 2, seed)
        u = correlated(900, 96, seed)
        h = (u.T @ u).double() / len(u)
        kernel = layer.module.weight
        after, before = (loss(layer, kernel, flat(how.encode(layer, kernel, h).code), h) for how in (descent, gptq))
        ratios.append(after / before)
    assert max(ratios) < 1
    assert sum(ratios) / len(ratios) < 0.9


def test_a_layer_whose_inputs_are_zero_keeps_its_code():
    layer = convolution(4, 8, 1, 0)
    h = torch.zeros(8, 8, dtype=torch.float64)
    code, start = (how.encode(layer, layer.module.weight, h).code for how in (descent, gptq))
    assert torch.equal(code.packed, start.packed)
    assert torch.equal(code.absmax, start.absmax)
