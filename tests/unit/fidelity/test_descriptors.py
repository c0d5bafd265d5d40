"""Distances between laws: those that behave alike are near, others are not, and units do not matter."""

from __future__ import annotations

import dataclasses
from math import pi

import numpy as np
import pytest

from leym.contract.fidelity_plan import PLANS
from leym.engine.engine import Engine
from leym.fidelity.descriptors import Behaviour, behaviour_of, distances
from leym.fidelity.measurement import Measurements
from tests.support.laws import linear_law, turning

PLAN = PLANS["small"].with_(grid=(8, 8), members=4, pilot=0, pairs=2, spin_up=10, steps=60, rounds=4, settle=2)


def behaviour(name, **means) -> Behaviour:
    """Return what four members measure that scatter by 0.01 around the means."""
    values = {metric: mean + 0.01 * np.array([1.0, -1.0, 2.0, -2.0]) for metric, mean in means.items()}
    return Behaviour(name, "chaotic", Measurements(values, np.ones((4, 3)), {}, [1.0], [0, 1, 2, 3], {}))


def scaled(one: Behaviour, metric: str, factor: float) -> Behaviour:
    values = one.measured.values | {metric: one.measured.values[metric] * factor}
    return dataclasses.replace(one, measured=dataclasses.replace(one.measured, values=values))


def test_distances_are_those_of_z_scores():
    laws = [behaviour("a", entropy=0, activity=0), behaviour("b", entropy=3, activity=0)]
    laws.append(behaviour("c", entropy=3, activity=1))
    found = distances(laws)
    rows = np.array([[0, 0], [3, 0], [3, 1.0]])
    z = (rows - rows.mean(0)) / rows.std(0)
    wanted = [[np.sqrt(((x - y) ** 2).mean()) for y in z] for x in z]
    np.testing.assert_allclose(found.apart, wanted, atol=1e-12)
    assert found.metrics == ["entropy", "activity"]
    assert [found.names[i] for i in found.nearest] == ["b", "a", "b"]
    half = 0.03 / rows.std(0)  # the halves of [1, -1, 2, -2] are 1.5 and -1.5
    np.testing.assert_allclose(found.halves, np.sqrt((half**2).mean()))
    again = distances([scaled(one, "activity", 1000.0) for one in laws])
    np.testing.assert_allclose(again.apart, found.apart)


def test_metrics_that_a_law_lacks_or_that_all_share_tell_nothing():
    laws = [behaviour("a", entropy=0, activity=1, series=np.nan), behaviour("b", entropy=1, activity=1, series=2)]
    assert distances(laws).metrics == ["entropy"]
    with pytest.raises(ValueError, match="no metric tells"):
        distances([behaviour("a", activity=1), behaviour("b", activity=1)])
    with pytest.raises(ValueError, match="1 laws: distances take at least 2"):
        distances(laws[:1])


def test_laws_that_turn_alike_are_neighbours_and_one_that_carries_is_not(tmp_path):
    engine = Engine(8, compile=False)
    engine.start()
    folders = {"slow": (turning(pi / 16), (0, 0)), "slower": (turning(pi / 17), (0, 0)), "far": (np.eye(4), (0, 1))}
    laws = [linear_law(tmp_path / name, matrix, offset) for name, (matrix, offset) in folders.items()]
    behaviours = [behaviour_of(engine, law, PLAN) for law in laws]
    engine.stop()
    found = distances(behaviours)
    assert [found.names[i] for i in found.nearest[:2]] == ["slower", "slow"]
    assert found.apart[0, 1] < found.apart[0, 2]
    assert behaviours[2].regime == "waves"
