"""Calibrated codes leave less error in a layer's output, are the same every time, and run as they were made."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from leym.contract.fidelity_plan import PLANS
from leym.contract.problems import Problem
from leym.engine.device import pick_device
from leym.engine.step.resident_law import ResidentLaw
from leym.laws.bundle import WEIGHTS
from leym.laws.loading import load_weights
from leym.laws.networks.mlp import MLP
from leym.quantization.codes import write_with_codes
from leym.quantization.nf4 import LEVELS, NF4
from leym.quantization.policy import formats_of
from leym.quantization.quantized_law import quantize_law
from leym.training.calibration import absmax, gptq
from leym.training.calibration.arms import ARMS, Settings, calibrate
from leym.training.calibration.layers import Layer, per_weight
from leym.training.calibration.network import hessian, student, teacher
from leym.training.calibration.network import moments as moments_of
from leym.training.calibration.refit import moments
from leym.training.calibration.rounding import NoGradientError
from leym.training.calibration.states import attractor, check_seeds
from tests.support.laws import random_law
from tests.support.layers import convolution, correlated

FEW = Settings(grid=(16, 16), members=2, updates=3)


def output_error(layer: Layer, kernel: torch.Tensor, u: torch.Tensor) -> float:
    return float(((layer.matrix(kernel) - layer.matrix(layer.module.weight)) @ u.T).square().mean())


@settings(max_examples=15, deadline=None)
@given(o=st.sampled_from([4, 16]), i=st.sampled_from([8, 24]), seed=st.integers(0, 1000), transposed=st.booleans())
def test_error_feedback_beats_the_nearest_level_on_correlated_inputs(o, i, seed, transposed):
    layer = convolution(o, i, 2, seed, transposed=transposed)
    u = correlated(600, layer.matrix(layer.module.weight).shape[1], seed)
    rounded = gptq.encode(layer, layer.module.weight, (u.T @ u).double() / len(u))
    by_scales = absmax.encode(layer, layer.module.weight, u.square().mean(0))
    nearest = NF4.encode(layer.module.weight)
    errors = [output_error(layer, c.decode(torch.float32), u) for c in (rounded.code, by_scales, nearest)]
    assert errors[0] < 0.9 * errors[2]
    assert rounded.code.nbytes == nearest.nbytes


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), transposed=st.booleans())
def test_without_correlation_error_feedback_is_the_nearest_level(seed, transposed):
    layer = convolution(6, 10, 3, seed, transposed=transposed)
    nearest = NF4.encode(layer.module.weight)
    matrix = layer.matrix(layer.module.weight)
    scales = layer.from_flat(per_weight(nearest.absmax, matrix.numel()))
    h = torch.rand(matrix.shape[1], generator=torch.Generator().manual_seed(seed)).double().diag()
    indices, aimed = gptq.round_columns(matrix, scales, h)
    assert torch.equal(layer.to_flat(indices), nearest.indices.long())
    assert torch.equal(aimed, matrix)


def test_a_layer_aims_at_its_output_in_the_fp32_network():
    generator = np.random.default_rng(4)
    w, v = generator.normal(size=(5, 12)), generator.normal(size=(300, 12))
    u = v @ (np.eye(12) + 0.2 * generator.normal(size=(12, 12))) + 0.1 * generator.normal(size=(300, 12))
    h, cross = u.T @ u / 300, v.T @ u / 300
    damping = np.sqrt(300 * 0.01 * h.diagonal().mean()) * np.eye(12)
    wanted = np.linalg.lstsq(np.vstack([u, damping]), np.vstack([v @ w.T, damping @ w.T]), rcond=None)[0].T
    matrix = torch.from_numpy(w).float()
    found = gptq.aimed_at_output(matrix, torch.from_numpy(h), torch.from_numpy(cross))
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
    same = gptq.aimed_at_output(matrix, torch.from_numpy(h), torch.from_numpy(h))
    torch.testing.assert_close(same, matrix, rtol=1e-5, atol=1e-6)


def test_moments_pair_the_inputs_of_both_networks(tmp_path):
    law = random_law(tmp_path / "mlp", "MLP", d=2, c=6)
    parent, made = teacher(law), student(law)
    made.net[0].weight.data *= 1.5
    made.net[0].bias.data *= 1.5
    states = attractor(law, parent, (8, 8), seeds=range(2), first=2, last=4, every=2)
    u, v = (
        torch.nn.functional.elu(network.net[0](states.x)).permute(0, 2, 3, 1).reshape(-1, 6).double()
        for network in (made, parent)
    )
    h, cross = moments_of(law, parent, made, Layer("net.2.weight", made.net[2]), states)
    torch.testing.assert_close(h, u.T @ u / len(u), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(cross, v.T @ u / len(u), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("h", [torch.zeros(90, 90).double(), torch.ones(90, 90).double()])
def test_silent_or_identical_inputs_are_no_fault(transposed, h):
    layer = convolution(6, 90 if transposed else 10, 3, 1, transposed=transposed)
    code = gptq.encode(layer, layer.module.weight, h).code
    assert torch.isfinite(code.decode(torch.float32)).all()


@given(seed=st.integers(0, 1000), scale=st.sampled_from([0.0, 1e-20, 1.0]))
@settings(max_examples=15, deadline=None)
def test_searched_scales_never_leave_more_error_than_the_maximum(seed, scale):
    generator = torch.Generator().manual_seed(seed)
    flat, h = torch.randn(150, generator=generator) * scale, torch.rand(150, generator=generator)

    def error(absmax_: torch.Tensor) -> torch.Tensor:
        s = per_weight(absmax_, 150)
        levels = LEVELS[absmax.nearest(flat / torch.where(s > 0, s, 1.0))] * s
        return torch.stack([x.sum() for x in (h * (flat - levels).square()).split(64)])

    largest = torch.stack([x.abs().max() for x in flat.split(64)])
    assert (error(absmax.search_absmax(flat, h)) <= error(largest) * (1 + 1e-6)).all()


@pytest.mark.parametrize(("kind", "size"), [("conv", 3), ("conv", 1), ("transposed", 2)])
def test_a_matrix_of_rows_computes_what_the_convolution_does(kind, size):
    layer = convolution(5, 7, size, 3, transposed=kind == "transposed")
    x = torch.randn(2, 7, 6, 8)
    y = layer.vectors(x) @ layer.matrix(layer.module.weight).T
    if layer.transposed:
        y = y.view(2, 6, 8, size, size, 5).permute(0, 5, 1, 3, 2, 4).reshape(2, 5, 6 * size, 8 * size)
    else:
        y = y.view(2, 6, 8, 5).permute(0, 3, 1, 2)
    expected = layer.module(x) - layer.module.bias[:, None, None]
    torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-5)
    matrix = layer.matrix(layer.module.weight)
    assert torch.equal(layer.kernel(matrix), layer.module.weight)


def test_groups_are_refused_by_name():
    layer = Layer("a.weight", nn.Conv2d(4, 4, 3, groups=2))
    with pytest.raises(ValueError, match=r"a\.weight: 2 groups"):
        layer.vectors(torch.zeros(1, 4, 8, 8))


def test_a_hessian_is_the_mean_outer_product_of_what_enters_the_layer(tmp_path):
    law = random_law(tmp_path / "mlp", "MLP", d=2, c=6)
    network = teacher(law)
    states = attractor(law, network, (8, 8), seeds=range(2), first=2, last=4, every=2)
    u = torch.nn.functional.elu(network.net[0](states.x)).permute(0, 2, 3, 1).reshape(-1, 6).double()
    found = hessian(law, network, Layer("net.2.weight", network.net[2]), states)
    torch.testing.assert_close(found, u.T @ u / len(u), rtol=1e-5, atol=1e-6)


def test_rounding_names_an_architecture_that_passes_no_gradient(tmp_path, monkeypatch):
    forward = MLP.forward
    monkeypatch.setattr(MLP, "forward", lambda network, x: forward(network, x).detach())
    with pytest.raises(NoGradientError, match="MLP"):
        calibrate(random_law(tmp_path / "law", "MLP", d=2, c=4), "rounding", FEW)


@pytest.mark.parametrize(
    "architecture", ["UNET", "UNET_UNITARY_RMSNORM", "UNET_CONVLSTM", "SNN_UNET", "MLP", "DEEP_QCA", "NCA"]
)
@pytest.mark.parametrize("arm", ["matched", "readout", list(ARMS)[-1]])
def test_every_architecture_can_be_calibrated_and_runs_exactly_the_codes(tmp_path, architecture, arm):
    options = {"SNN_UNET": {"antialias": True}, "NCA": {"update_rate": 0.5}}.get(architecture)
    law = random_law(tmp_path / "law", architecture, d=2, c=4, options=options)
    codes = calibrate(law, arm, FEW)
    assert {key for key, code in codes.items() if isinstance(code, NF4)} == {
        key for key, form in formats_of(law, "nf4").items() if form == "nf4"
    }
    made = write_with_codes(law, tmp_path / "made", "nf4", codes)
    operands = pick_device("cpu").operands
    quantized = quantize_law(made, load_weights(made), "nf4", operands)
    assert quantized.bytes_at_rest == quantize_law(law, load_weights(law), "nf4", operands).bytes_at_rest
    decoded = quantized.decode(torch.float32)
    for key, code in codes.items():
        assert torch.equal(decoded[key], code.decode(torch.float32) if isinstance(code, NF4) else code), key
    ResidentLaw(quantized, pick_device("cpu"), on_degraded=lambda _: None)


@pytest.mark.parametrize("arm", list(ARMS))
def test_the_same_law_and_seed_give_the_same_bytes(tmp_path, arm):
    law = random_law(tmp_path / "law", "UNET", d=2, c=4)
    files = []
    for number in range(2):
        torch.manual_seed(number)  # nothing may depend on torch's global generator
        made = write_with_codes(law, tmp_path / str(number), "nf4", calibrate(law, arm, FEW))
        files.append((made.path / WEIGHTS).read_bytes())
    assert files[0] == files[1]


def test_refitted_norms_give_each_channel_the_mean_and_spread_of_the_fp32_law(tmp_path):
    law = random_law(tmp_path / "law", "UNET", d=2, c=4)
    codes, parent, made = calibrate(law, "refit", FEW), teacher(law), student(law)
    for key, code in codes.items():
        module, _, part = key.rpartition(".")
        getattr(made.get_submodule(module), part).data = code.decode(torch.float32) if isinstance(code, NF4) else code
    states = attractor(law, parent, FEW.grid, seeds=FEW.seeds)
    for wanted, found in zip(moments(parent.encode(states.x)[0]), moments(made.encode(states.x)[0]), strict=True):
        torch.testing.assert_close(found, wanted, rtol=0.05, atol=0.05)
    ends = [network(states.x).mean((0, 2, 3)) for network in (parent, made)]
    torch.testing.assert_close(ends[0], ends[1], rtol=0.02, atol=0.02)  # the head's bias makes up for what is left


def test_unknown_arms_shared_seeds_and_laws_without_nf4_are_refused(tmp_path):
    law = random_law(tmp_path / "law", "MLP")
    with pytest.raises(Problem, match="among nearest, absmax"):
        calibrate(law, "magic")
    with pytest.raises(ValueError, match="overlap"):
        check_seeds(range(1_000_100, 1_000_116), PLANS["small"])
    check_seeds(Settings().seeds, PLANS["standard"])
    plain = random_law(tmp_path / "plain", "MLP")
    manifest = plain.manifest.model_copy(update={"policy": {"nf4": {"backbone": "int8"}}})
    with pytest.raises(Problem, match="none of its weights in NF4"):
        calibrate(type(plain)(manifest, plain.digest, plain.path), "nearest", FEW)
