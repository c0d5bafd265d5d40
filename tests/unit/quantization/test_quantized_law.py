"""Quantised weights have bitsandbytes' exact bytes, decode correctly for every shape, and report their size."""

from __future__ import annotations

import bitsandbytes.functional as bnb
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from leym.laws.loading import empty_network, load_weights
from leym.quantization.int8 import Int8
from leym.quantization.nf4 import BLOCK, NF4
from leym.quantization.quantized_law import quantize_law
from tests.support.laws import oracle, random_law

# The sixteen levels of NormalFloat4 (Dettmers et al. 2023, arXiv 2305.14314, appendix E).
LEVELS = np.array(
    [
        [-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453],
        [-0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0],
        [0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224],
        [0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0],
    ]
).reshape(-1)


def decode_by_hand(packed: np.ndarray, absmax: np.ndarray, n: int) -> np.ndarray:
    """High nibble first; every 64 weights share one scale."""
    nibbles = np.stack([packed >> 4, packed & 15], -1).reshape(-1)[:n]
    return LEVELS[nibbles] * np.repeat(absmax, BLOCK)[:n]


sides = st.sampled_from([1, 2, 3, 4, 8, 16, 48, 64, 96, 144])


@settings(max_examples=60, deadline=None)
@given(o=sides, i=sides, k=st.sampled_from([1, 2, 3]), seed=st.integers(0, 2**31))
def test_nf4_decodes_every_shape_like_an_independent_decoder(o, i, k, seed):
    rows = torch.randn(o, 1, 1, 1, generator=torch.Generator().manual_seed(seed)).exp()  # rows of unlike scales
    weight = torch.randn(o, i, k, k, generator=torch.Generator().manual_seed(seed + 1)) * rows
    encoded = NF4.encode(weight)
    flat = decode_by_hand(encoded.packed.numpy().reshape(-1), encoded.absmax.numpy(), weight.numel())
    expected = flat.reshape(o, k, k, i).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(encoded.decode(torch.float32).numpy(), expected, rtol=1e-6)
    # the nearest level, so no error is larger than half the widest gap of its block
    scale = np.repeat(encoded.absmax.numpy(), BLOCK)[: weight.numel()].reshape(o, k, k, i).transpose(0, 3, 1, 2)
    assert (np.abs(expected - weight.numpy()) <= scale * np.diff(LEVELS).max() / 2 + 1e-6).all()


def test_nf4_bytes_are_those_of_bitsandbytes():
    weight = torch.randn(48, 96, 3, 3)
    flat = weight.permute(0, 2, 3, 1).reshape(-1).contiguous()
    packed, state = bnb.quantize_4bit(flat, blocksize=BLOCK, quant_type="nf4", compress_statistics=False)
    ours = NF4.encode(weight)
    assert torch.equal(ours.packed.view(-1), packed.view(-1))
    assert torch.equal(ours.absmax, state.absmax)


@settings(max_examples=30, deadline=None)
@given(o=sides, i=sides, seed=st.integers(0, 2**31))
def test_int8_is_within_half_a_step_of_its_row(o, i, seed):
    weight = torch.randn(o, i, 3, 3, generator=torch.Generator().manual_seed(seed))
    weight[0] = 0  # a row of zeros stays zero
    error = (Int8.encode(weight).decode(torch.float32) - weight).abs().flatten(1).amax(1)
    assert (error <= weight.abs().flatten(1).amax(1) / 127 / 2 * 1.0001).all()


def test_the_policy_gives_each_role_its_format_and_counts_its_bytes(tmp_path):
    law = random_law(tmp_path / "unet", "UNET", d=4, c=16)
    weights = load_weights(law)
    quantized = quantize_law(law, weights, "nf4", torch.bfloat16)
    formats = {layer.key: layer.format for layer in quantized.layers}
    assert formats["inc.conv_block.0.weight"] == formats["inc.conv_block.3.weight"] == "int8"
    assert formats["bot.conv_block.3.weight"] == formats["up1.weight"] == "nf4"
    assert formats["outc.weight"] == "16"
    assert formats["bot.conv_block.1.weight"] == "fp32"
    assert quantized.backbone_bytes_per_parameter <= 0.57
    assert quantized.bytes_at_rest < 0.2 * quantize_law(law, weights, "fp32", torch.bfloat16).bytes_at_rest
    head = next(layer for layer in quantized.layers if layer.key == "outc.weight")
    assert head.encoded.nbytes == 2 * weights["outc.weight"].numel()


@pytest.mark.parametrize("precision", ["nf4", "int8", "bf16", "fp32"])
@pytest.mark.parametrize("operands", [torch.float32, torch.bfloat16])
def test_a_decoded_law_fits_its_network_and_stays_near_the_original(precision, operands, tmp_path):
    law = oracle("unet", tmp_path).bundle
    weights = load_weights(law)
    resident = quantize_law(law, weights, precision, operands).decode(operands)
    network = empty_network(law.manifest)
    network.load_state_dict(resident, strict=True, assign=True)
    assert network.inc.conv_block[0].weight.dtype == operands
    assert network.inc.conv_block[1].weight.dtype == torch.float32  # norms stay in fp32
    bound = {"nf4": 0.12, "int8": 0.02, "bf16": 0.01, "fp32": 0.01 if operands == torch.bfloat16 else 0}[precision]
    for key, weight in weights.items():
        error = (resident[key].float() - weight).norm() / weight.norm().clamp_min(1e-9)
        assert error <= bound, key
