"""The laws compute what the reference implementation computes, from its weights under its keys."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from leym.contract.problems import Problem
from leym.laws.loading import empty_network, load_weights
from leym.physics.step import step, to_complex, to_real
from tests.support.laws import FORMS, TOLERANCE, deviation, oracle, random_law, write_law


@pytest.mark.parametrize("name", FORMS)
@torch.no_grad()
def test_the_step_matches_the_oracle(name, tmp_path):
    law = oracle(name, tmp_path)
    network = empty_network(law.bundle.manifest)
    network.load_state_dict(load_weights(law.bundle), strict=True, assign=True)
    x, gamma = to_real(torch.from_numpy(law.psi[0])[None]), torch.full((1, 1, 1, 1), law.gamma)
    memory = torch.zeros(1, *law.memory[1].shape) if law.memory else None
    for n in range(1, 11):
        x, memory, finite = step(network, law.bundle.manifest.form, x, gamma, memory)
        assert finite.all()
        if n in TOLERANCE:
            assert deviation(name, to_complex(x)[0].numpy(), law.psi[n]) < TOLERANCE[n], f"step {n}"
            if memory is not None:
                assert np.abs(memory[0].numpy() - law.memory[n]).max() < TOLERANCE[n], f"memory at step {n}"


@torch.no_grad()
def test_the_folded_deep_qca_is_the_same_function(tmp_path):
    law = oracle("deep_qca", tmp_path).bundle
    network = empty_network(law.manifest)
    network.load_state_dict(load_weights(law), strict=True, assign=True)
    small = network.folded()
    assert small.processing_net[0].in_channels * 8 == network.processing_net[0].in_channels
    x = torch.randn(2, 2 * law.manifest.d_state, 9, 7)
    torch.testing.assert_close(small(x), network(x), atol=1e-5, rtol=1e-5)
    network.conv_neighbors.weight = torch.nn.Parameter(network.conv_neighbors.weight.clone())
    network.conv_neighbors.weight[3] *= 2
    assert network.folded() is network, "maps that differ cannot be folded"


@torch.no_grad()
def test_the_form_is_data_and_changes_the_law(tmp_path):
    law = oracle("unet_unitary", tmp_path)
    network = empty_network(law.bundle.manifest)
    network.load_state_dict(load_weights(law.bundle), strict=True, assign=True)
    x, gamma = to_real(torch.from_numpy(law.psi[0])[None]), torch.full((1, 1, 1, 1), law.gamma)
    wrong, _, _ = step(network, "additive", x, gamma)
    assert np.abs(to_complex(wrong)[0].numpy() - law.psi[1]).max() > 1e-2


def test_the_digest_covers_everything_but_the_name(tmp_path):
    law = oracle("mlp", tmp_path).bundle
    weights = {k: v.numpy() for k, v in load_weights(law).items()}
    same = {"architecture": "MLP", "d_state": 4, "hidden_channels": 8}
    assert write_law(tmp_path / "other-name", weights, form="additive", **same).digest == law.digest
    assert write_law(tmp_path / "other-form", weights, form="diagonal", **same).digest != law.digest
    weights["net.0.bias"] = weights["net.0.bias"] + np.float32(1e-6)
    assert write_law(tmp_path / "other-bias", weights, form="additive", **same).digest != law.digest


def test_weights_that_do_not_fit_are_refused_naming_every_key(tmp_path):
    law = random_law(tmp_path / "good", "UNET")
    weights = {k: v.numpy() for k, v in load_weights(law).items()}
    del weights["inc.conv_block.0.weight"]
    weights["extra"] = np.zeros(1, np.float32)
    weights["outc.bias"] = np.zeros(3, np.float32)
    weights["up1.bias"] = np.full_like(weights["up1.bias"], np.nan)
    broken = write_law(tmp_path / "broken", weights, architecture="UNET", d_state=2, hidden_channels=4, form="additive")
    with pytest.raises(Problem) as refusal:
        load_weights(broken)
    for words in (
        "missing key 'inc.conv_block.0.weight'",
        "unexpected key 'extra'",
        "'outc.bias' has shape (3,)",
        "'up1.bias'",
    ):
        assert words in refusal.value.detail
