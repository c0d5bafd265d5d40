"""Weights that learn are those that a worker decodes, bit for bit, and pass their gradients through."""

from __future__ import annotations

import pytest
import torch

from leym.laws.loading import load_weights
from leym.quantization.codes import decoded, own_codes, write_with_codes
from leym.quantization.nf4 import NF4
from leym.quantization.quantized_law import encode, quantize_law
from leym.training.refinement.fake_quantization import FakeNF4, FakePlain, FakeQuantized
from tests.support.laws import random_law


@pytest.mark.parametrize("shape", [(16, 8, 3, 3), (5, 3, 1, 1), (8, 16, 2, 2)])
def test_nf4_runs_what_the_encoder_and_the_decoder_make_of_a_weight(shape):
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    code = NF4.encode(weight)
    fake = FakeNF4.start(code)
    assert torch.equal(fake.weight(), code.decode(torch.float32))
    fake.latent.data = weight.permute(0, 2, 3, 1).reshape(-1).clone()  # not at a level any more
    assert torch.equal(fake.code().packed, code.packed)
    assert torch.equal(fake.weight(), code.decode(torch.float32))


@pytest.mark.parametrize("format_", ["int8", "16", "bf16", "fp32"])
def test_other_formats_run_what_their_encoder_and_decoder_make_of_a_weight(format_):
    weight = torch.randn(6, 4, 3, 3, generator=torch.Generator().manual_seed(2))
    fake = FakePlain(weight.clone().requires_grad_(True), format_)
    stored = torch.bfloat16 if format_ == "16" else torch.float32
    assert torch.equal(fake.weight(), encode(format_, weight, stored).decode(torch.float32))
    worker = encode(format_, fake.code(), stored).decode(torch.float32)
    assert torch.equal(fake.weight(), worker)  # from what is stored, too
    fake.weight().sum().backward()
    assert torch.equal(fake.latent.grad, torch.ones_like(weight))


def test_the_gradient_reaches_latents_unchanged_and_scales_by_what_rounding_left():
    weight = torch.randn(4, 16, 3, 3, generator=torch.Generator().manual_seed(3))
    fake = FakeNF4.start(NF4.encode(weight))
    fake.latent.data = weight.permute(0, 2, 3, 1).reshape(-1).clone()
    towards = torch.randn(weight.shape, generator=torch.Generator().manual_seed(4))
    (fake.weight() * towards).sum().backward()
    flat = towards.permute(0, 2, 3, 1).reshape(-1)
    assert torch.allclose(fake.latent.grad, flat, atol=1e-6)
    # d/d(log s) of s (level - w / s) + w, the part that a latent cannot move: W - w
    left = fake.weight().detach().permute(0, 2, 3, 1).reshape(-1) - fake.latent.detach()
    assert torch.allclose(fake.growth.grad, (left * flat).view(-1, 64).sum(1), atol=1e-5)


def test_a_block_of_zeros_stays_zero_and_has_finite_gradients():
    fake = FakeNF4.start(NF4.encode(torch.zeros(2, 32, 1, 1)))
    fake.weight().sum().backward()
    assert torch.equal(fake.weight(), torch.zeros(2, 32, 1, 1))
    assert all(torch.isfinite(part.grad).all() for part in fake.parameters)


@pytest.mark.parametrize("precision", ["nf4", "int8", "bf16"])
@pytest.mark.parametrize("architecture", ["UNET_UNITARY", "NCA"])
def test_a_law_decodes_to_the_weights_that_learned(tmp_path, precision, architecture):
    law = random_law(tmp_path / "law", architecture, c=8)
    fake = FakeQuantized(law, precision, {})
    plain = quantize_law(law, load_weights(law), precision, torch.bfloat16).layers
    for layer in plain:
        assert torch.equal(fake.decoded()[layer.key], layer.encoded.decode(torch.float32)), layer.key
    random = torch.Generator().manual_seed(5)
    for parameter in fake.parameters():  # any training
        parameter.data += torch.randn(parameter.shape, generator=random) * 0.02
    made = write_with_codes(law, tmp_path / "made", precision, fake.codes())
    assert own_codes(made, precision).keys() == fake.codes().keys()
    worker = quantize_law(made, load_weights(made), precision, torch.float32)
    assert worker.bytes_at_rest == quantize_law(law, load_weights(law), precision, torch.float32).bytes_at_rest
    for layer in worker.layers:
        assert torch.equal(fake.decoded()[layer.key], layer.encoded.decode(torch.float32)), layer.key


def test_codes_that_the_policy_does_not_store_are_refused(tmp_path):
    law = random_law(tmp_path / "law", "UNET", c=4)
    head = next(key for key in law.tensors if key.startswith(law.manifest.architecture_info.head) and "weight" in key)
    with pytest.raises(ValueError, match="has a code in NF4, but the policy stores it as 16"):
        FakeQuantized(law, "nf4", {head: NF4.encode(load_weights(law)[head])})


def test_the_code_of_a_weight_stands_for_what_was_decoded(tmp_path):
    law = random_law(tmp_path / "law", "UNET", c=4)
    fake = FakeQuantized(law, "nf4", {})
    for key, code in fake.codes().items():
        if isinstance(code, NF4):
            assert torch.equal(decoded(code), fake.decoded()[key])
