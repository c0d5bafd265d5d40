"""The fit of gains finds those that undo the effects, on a made-up law whose effects are known, noise included."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from leym.quantization.codes import completed, decoded, own_codes, write_with_codes
from leym.quantization.nf4 import NF4
from leym.training.gains import DIRECTIONS, PARTS, Gains, fit_gains, parts_of
from leym.training.refinement.fake_quantization import FakeQuantized
from leym.training.yardstick import Measured
from tests.support.laws import random_law


def made_up(seed=0):
    """Codes of a kernel in NF4 with 6 blocks, a plain kernel with 20 rows and a bias."""
    generator = torch.Generator().manual_seed(seed)
    kernel = torch.randn(6, 64, 1, 1, generator=generator)
    return {
        "a.weight": NF4.encode(kernel),
        "b.weight": torch.randn(20, 6, 1, 1, generator=generator),
        "b.bias": torch.randn(2, generator=generator),
    }


def scales(codes):
    return np.concatenate([(c.absmax if isinstance(c, NF4) else c).double().flatten().numpy() for c in codes.values()])


class Linear:
    """Effects that are linear in the logarithms of all gains, from a known offset, with noise."""

    def __init__(self, codes, noise, *, far=1.0, seed=3):
        self._rng = np.random.default_rng(seed)
        self._first = scales(codes)
        self._slopes = self._rng.normal(0, 4, (5, len(self._first)))
        self._offset = far * np.array([0.8, -1.5, 0.4, 2.0, -0.3])
        self._noise, self.measured = noise, 0

    def true(self, codes):
        return self._offset + self._slopes @ np.log(scales(codes) / self._first)

    def __call__(self, codes):
        self.measured += 1
        effects = self.true(codes) + self._rng.normal(0, self._noise, 5)
        return Measured(float(np.abs(effects).max()), str(np.abs(effects).argmax()), effects)


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_the_gains_that_undo_the_effects_are_found(noise):
    codes = made_up()
    law, lines = Linear(codes, noise), []
    found = fit_gains(codes, law, rounds=2, seed=1, on_progress=lines.append)
    assert np.abs(law.true(codes)).max() == 2.0
    assert np.abs(law.true(found.codes)).max() < (0.15 if noise == 0 else 0.5)
    assert found.distances[0] == pytest.approx(2.0, abs=4 * noise + 1e-6)
    assert len(found.distances) == 3
    assert len(lines) == 2
    assert found.ensembles == law.measured


def test_the_levels_stay_and_gains_are_small():
    codes = made_up()
    found = fit_gains(codes, Linear(codes, 0.0), rounds=1, seed=1).codes
    assert torch.equal(found["a.weight"].packed, codes["a.weight"].packed)
    assert found["b.weight"].shape == codes["b.weight"].shape
    change = np.log(scales(found) / scales(codes))
    assert 0 < np.abs(change).max() < 0.2


def test_no_gain_that_makes_it_worse_is_kept():
    codes = made_up()

    def measure(now):
        moved = float(np.abs(np.log(scales(now) / scales(codes))).max())
        return Measured(1.0 + 100 * moved, "activity", np.ones(5))

    found = fit_gains(codes, measure, rounds=2, seed=1)
    assert np.array_equal(scales(found.codes), scales(codes))


def test_a_law_that_breaks_on_the_way_is_not_kept():
    codes, law = made_up(), None
    law = Linear(codes, 0.0, far=3)

    def measure(now):
        found = law(now)
        broken = law.measured in (3, 22)
        return Measured(np.inf, "memory_short", found.effects * np.nan) if broken else found

    found = fit_gains(codes, measure, rounds=2, seed=1)
    assert np.isfinite(found.distances[-1]) or found.distances[-1] == np.inf
    assert np.abs(law.true(found.codes)).max() <= 6.0
    with pytest.raises(ValueError, match="activity is not finite"):
        fit_gains(codes, lambda now: Measured(np.inf, "activity", np.array([np.nan])), rounds=1, seed=1)


def test_parts_cover_a_weight_once():
    for length in (1, 2, 7, 8, 9, 64, 100):
        parts = parts_of(torch.zeros(length, 3))
        assert [i for part in parts for i in range(length)[part]] == [*range(length)]
        assert len(parts) == min(length, PARTS)
        assert max(len(range(length)[part]) for part in parts) - min(len(range(length)[part]) for part in parts) <= 1


def test_few_parts_are_moved_one_by_one_and_many_together():
    one = {"bias": torch.ones(3)}
    gains = Gains(one, np.random.default_rng(0))
    assert gains.directions == 3
    assert torch.allclose(gains.at(np.array([0.0, 0.5, 0.0]))["bias"], torch.tensor([1.0, float(np.exp(0.5)), 1.0]))
    many = {f"{k}.bias": torch.ones(8) for k in range(5)}
    gains = Gains(many, np.random.default_rng(0))
    assert gains.directions == DIRECTIONS
    moved = torch.stack([w.log() for w in gains.at(np.eye(DIRECTIONS)[0]).values()]).abs()
    assert torch.allclose(moved, torch.tensor(1 / DIRECTIONS**0.5), rtol=1e-4)


@torch.no_grad()
def test_all_devices_run_the_same_weights_under_gains(tmp_path):
    law = random_law(tmp_path / "law", "NCA", d=2, c=16)
    gains = Gains(completed(law, "nf4", {}), np.random.default_rng(0))
    codes = completed(law, "nf4", gains.at(np.full(gains.directions, 0.03)))
    head, whole = codes["net.2.weight"], completed(law, "nf4", {})["net.2.weight"]
    assert not torch.equal(head, whole)
    assert torch.equal(head, head.bfloat16().float())  # as bfloat16 and as float32 operands
    made = write_with_codes(law, tmp_path / "made", "nf4", codes)
    trained = FakeQuantized(law, "nf4", codes).decoded()
    found = own_codes(made, "nf4")
    assert found.keys() == codes.keys()
    assert all(torch.equal(decoded(code), trained[key]) for key, code in found.items())
