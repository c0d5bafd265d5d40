"""Regimes of laws whose behaviour is known from their weights."""

from __future__ import annotations

from math import nan, pi

import numpy as np
import pytest
import torch

from leym.contract.fidelity_plan import PLANS
from leym.engine.engine import Engine
from leym.fidelity.ensemble import Subject
from leym.fidelity.measurement import run_and_measure
from leym.fidelity.regime import Regime, label_of, mean_interval, regime_of, returns, travel
from leym.fidelity.stats import tost
from tests.support.laws import linear_law, lively_law, turning

PLAN = PLANS["small"].with_(grid=(16, 16), members=6, pilot=0, pairs=4, spin_up=20, steps=100, rounds=24, settle=8)
DULL = {"activity": 0.1, "lyapunov_low": -0.1, "travel": 0.0, "recurrence": 0.0}


@pytest.fixture(scope="module")
def engine():
    running = Engine(16, compile=False)
    running.start()
    yield running
    running.stop()


def named(engine, law, plan=PLAN) -> Regime:
    subject = Subject(law, "fp32", plan.gamma)
    baseline, trajectories = run_and_measure(engine, subject, plan.seeds, plan)
    return regime_of(engine, subject, baseline, trajectories, plan)


def test_a_law_that_keeps_the_state_is_frozen(engine, tmp_path):
    found = named(engine, linear_law(tmp_path / "still", np.eye(4)))
    assert found.label == "frozen"
    assert found.evidence["activity"] < 1e-6


def test_a_law_that_turns_every_cell_is_periodic(engine, tmp_path):
    found = named(engine, linear_law(tmp_path / "turning", turning(pi / 16)))
    assert found.label == "periodic"
    assert found.evidence["period"] == 16  # half a turn: a state and its negative are aligned
    assert found.evidence["recurrence"] == pytest.approx(1, abs=1e-4)
    assert abs(found.evidence["lyapunov"]) < 1e-3
    assert found.evidence["travel"] < 0.1


@pytest.mark.parametrize("offset", [(0, 1), (-1, 1)])
def test_a_law_that_carries_the_picture_along_makes_waves(engine, offset, tmp_path):
    found = named(engine, linear_law(tmp_path / "carrying", np.eye(4), offset))
    assert found.label == "waves"
    assert found.evidence["travel"] == pytest.approx(1, abs=1e-3)
    assert found.evidence["travel_lag"] in (1, 2)


def test_a_lively_law_is_chaotic(engine, tmp_path):
    found = named(engine, lively_law(tmp_path), PLAN.with_(spin_up=100, steps=200))
    assert found.label == "chaotic"
    assert found.evidence["lyapunov_low"] > 0.01


def test_the_rules_go_from_frozen_to_undecided():
    assert label_of(DULL, PLAN) == "undecided"
    assert label_of(DULL | {"recurrence": 0.995}, PLAN) == "periodic"
    moving = DULL | {"recurrence": 0.995, "travel": 0.6}
    assert label_of(moving, PLAN) == "waves"
    assert label_of(moving | {"lyapunov_low": nan}, PLAN) == "waves"
    assert label_of(moving | {"lyapunov_low": 0.01}, PLAN) == "chaotic"
    assert label_of(moving | {"lyapunov_low": 0.01, "activity": 1e-7}, PLAN) == "frozen"
    assert label_of({"activity": 0.1, "lyapunov_low": -0.1}, PLAN) == "undecided"  # nothing was observed step by step


def test_slow_drift_is_no_return_and_a_small_oscillation_is():
    def states(angles):
        t = torch.tensor(angles)
        return torch.stack([t.cos(), t.sin()], -1).to(torch.complex64)[None, :, None, None].expand(1, -1, 8, 8, 2)

    drift, frame = returns(states(np.linspace(0, 0.05, 30)))
    assert float(drift) == 0
    assert torch.isnan(frame).all()
    best, frame = returns(states(0.1 * np.sin(np.arange(30) * 2 * pi / 12)))
    assert float(best) == pytest.approx(1, abs=1e-6)
    assert float(frame) == 6


def test_patches_see_waves_that_run_in_different_directions():
    noise = torch.randn(1, 16, 16, 3, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    moved = torch.cat([noise[:, :, :8].roll(1, 1), noise[:, :, 8:].roll(-1, 1)], 2)
    other = torch.randn(1, 16, 16, 3, dtype=torch.complex64, generator=torch.Generator().manual_seed(1))
    assert float(travel(torch.stack([noise, moved], 1), 1)) > 0.8  # all but the cells at the seam
    assert float(travel(torch.stack([noise, other], 1), 1)) < 0.4
    assert float(travel(torch.stack([noise, noise], 1), 1)) == 0
    assert float(travel(torch.stack([noise, noise + 0.3 * other], 1), 1)) < 0


def test_the_interval_of_a_mean_is_that_of_a_t_test():
    sample = np.random.default_rng(0).normal(2, 1, 12)
    mean, half = mean_interval(sample, 0.05)
    one = tost(sample, np.full(10**6, mean), 1.0)  # against a constant: the same standard error and degrees of freedom
    assert mean == pytest.approx(sample.mean())
    assert half == pytest.approx(one.high - one.effect, rel=1e-6)
    assert np.isnan(mean_interval(sample[:1], 0.05)[1])
