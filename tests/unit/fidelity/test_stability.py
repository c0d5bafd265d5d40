"""Rollout-stability scores: against plain loops, and laws whose damage is known."""

from __future__ import annotations

from math import inf, log

import numpy as np
import pytest
import torch

from leym.engine.engine import Engine
from leym.fidelity.ensemble import Subject, Trajectories, evolve
from leym.fidelity.stability import BROKEN, Rollouts, stability
from tests.support.laws import linear_law, lively_law, turning


def trajectories(psi, activity, broken=()) -> Trajectories:
    return Trajectories(psi, activity, [], [], list(broken), [], {})


def noise(*shape, seed):
    return torch.randn(*shape, dtype=torch.complex64, generator=torch.Generator().manual_seed(seed))


def test_the_score_equals_plain_loops():
    a, b, starts = noise(3, 5, 4, 4, 2, seed=0), noise(3, 5, 4, 4, 2, seed=1), noise(3, 4, 4, 2, seed=2)
    activity = torch.full((3, 5), 0.2), torch.full((3, 5), 0.3)
    found = stability(trajectories(a, activity[0]), trajectories(b, activity[1]), starts)

    def rms(x, y):
        return np.sqrt((np.abs(x.numpy() - y.numpy()) ** 2).sum(-1).mean())

    by_step = [np.mean([rms(a[m, t], b[m, t]) for m in range(3)]) for t in range(5)]
    unrelated = np.mean([rms(a[m, t], a[m - 1, t]) for m in range(3) for t in range(5)])
    assert found.deviation == pytest.approx(np.mean(by_step) / unrelated, rel=1e-5)
    assert found.drift == pytest.approx(0.5, rel=1e-5)
    assert found.score == found.deviation + found.drift
    assert found.growth == pytest.approx(log(by_step[-1] / by_step[0]) / 4, rel=1e-5)
    assert found.error == pytest.approx(by_step[0] / np.mean([rms(starts[m], a[m, 0]) for m in range(3)]), rel=1e-5)
    broken = trajectories(b, activity[1], broken=[7])
    assert stability(trajectories(a, activity[0]), broken, starts) == BROKEN
    assert BROKEN.score == inf


def test_more_harm_has_a_higher_score_and_equal_weights_none(tmp_path):
    engine = Engine(8, compile=False)
    engine.start()
    law, near, far = (
        Subject(linear_law(tmp_path / name, turning(angle)), "fp32")
        for name, angle in (("law", 0.2), ("near", 0.201), ("far", 0.25))
    )
    begun = evolve(engine, law, (8, 8), [1, 2, 3], steps=4, every=4)
    rollouts = Rollouts(engine, law, (8, 8), begun.ends, begun.seeds, steps=8)
    same, little, much = (rollouts.score(one) for one in (law, near, far))
    lively = Subject(lively_law(tmp_path), "fp32")
    begun = evolve(engine, lively, (16, 16), [1, 2], steps=60, every=60)
    chaotic = Rollouts(engine, lively, (16, 16), begun.ends, begun.seeds).score(Subject(lively.law, "int8"))
    engine.stop()
    assert same.score == same.error == same.growth == 0
    assert 0 < little.score < much.score
    assert little.error == pytest.approx(0.001 / 0.2, rel=0.05)  # an angle too much, of an angle
    assert much.growth == pytest.approx(log(8) / 7, rel=0.1)  # it adds up step by step
    assert chaotic.growth > 0.03
    with pytest.raises(ValueError, match="1 start states"):
        Rollouts(engine, law, (8, 8), begun.ends[:1], [1])
