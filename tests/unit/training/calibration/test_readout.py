"""A refitted head makes good for what the layers before it do differently, in weights that are stored exactly."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from leym.contract.fidelity_plan import PLANS
from leym.training.calibration.arms import Settings, calibrate
from leym.training.calibration.candidates import choose_codes
from leym.training.calibration.network import student, teacher
from leym.training.calibration.readout import NoReadoutError, refit_head, round_one_by_one
from leym.training.calibration.states import attractor
from tests.support.laws import random_law

FEW = Settings(grid=(16, 16), members=2)


def problem(seed, k=12, rows=3, n=400):
    """Inputs that share few causes, outputs that depend on them, as NumPy arrays."""
    generator = np.random.default_rng(seed)
    v = generator.normal(size=(n, 4)) @ generator.normal(size=(4, k)) + 0.05 * generator.normal(size=(n, k))
    return v, v @ generator.normal(size=(k, rows)) + 0.1 * generator.normal(size=(n, rows))


def moments(v, y):
    v, y = torch.from_numpy(v), torch.from_numpy(y)
    return v.T @ v / len(v), v.T @ y / len(v)


def loss(v, y, q):
    return float(np.square(v @ np.asarray(q) - y).mean())


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_rounded_weights_are_exact_in_16_bits_and_lose_next_to_nothing(seed):
    v, y = problem(seed)
    best = np.linalg.lstsq(v, y, rcond=None)[0]
    q = round_one_by_one(*moments(v, y), kernel=11)
    assert torch.equal(q[:11], q[:11].bfloat16().double())
    assert not torch.equal(q[11], q[11].bfloat16().double())
    plain = torch.from_numpy(best).bfloat16().double()
    least = loss(v, y, best)
    assert least <= loss(v, y, q) * (1 + 1e-9)
    assert loss(v, y, q) - least < 0.5 * (loss(v, y, plain) - least)


def test_without_rounding_it_is_the_least_squares_solution():
    v, y = problem(1)
    np.testing.assert_allclose(
        round_one_by_one(*moments(v, y), kernel=0), np.linalg.lstsq(v, y, rcond=None)[0], atol=1e-3
    )


@torch.no_grad()
def test_a_head_undoes_gains_of_the_channels_that_it_reads(tmp_path):
    law = random_law(tmp_path / "law", "NCA", d=2, c=8)  # linear, ReLU, linear: a positive gain passes through
    parent, made = teacher(law), student(law)
    gains = torch.tensor([0.5, 2.0, 1.0, 4.0, 0.25, 1.0, 8.0, 2.0])  # powers of two round to themselves
    made.net[0].load_state_dict(parent.net[0].state_dict())
    made.net[0].weight *= gains[:, None, None, None]
    made.net[0].bias *= gains
    states = attractor(law, parent, (16, 16), seeds=range(4), first=2, last=30, every=4)
    before = (made(states.x) - parent(states.x)).square().mean()
    found = refit_head(law, parent, made, states, seed=1, gamma=0.01)
    assert set(found) == {"net.2.weight", "net.2.bias"}
    fresh = attractor(law, parent, (16, 16), seeds=range(50, 54), first=10, last=10)
    assert (made(fresh.x) - parent(fresh.x)).square().mean() < 1e-4 * before


@torch.no_grad()
@pytest.mark.parametrize("architecture", ["NCA", "DEEP_QCA"])
def test_it_leaves_a_small_part_of_the_error_of_one_step(tmp_path, architecture):
    law = random_law(tmp_path / "law", architecture, d=2, c=32)
    parent = teacher(law)
    fresh = attractor(law, parent, (16, 16), seeds=range(90, 93), first=20, last=40)

    def error(codes):
        made = student(law)
        for key, code in codes.items():
            module, _, part = key.rpartition(".")
            weight = code.decode(torch.float32) if hasattr(code, "packed") else code
            getattr(made.get_submodule(module), part).data = weight
        return float((made(fresh.x) - parent(fresh.x)).square().mean())

    assert error(calibrate(law, "readout", FEW)) < 0.1 * error(calibrate(law, "gptq", FEW))


def test_a_head_without_weights_of_its_own_is_left_out_with_the_reason(tmp_path):
    law = random_law(tmp_path / "law", "NCA", d=2, c=8)
    manifest = law.manifest.model_copy(update={"policy": {"nf4": {"head": "int8"}}})
    changed = type(law)(manifest, law.digest, law.path)
    with pytest.raises(NoReadoutError, match=r"net\.2\.weight is stored as int8"):
        calibrate(changed, "readout", FEW)
    result = choose_codes(changed, ["gptq", "readout"], PLANS["small"], FEW)
    assert set(result.codes) == {"gptq"}
    assert "int8" in result.left_out["readout"]
