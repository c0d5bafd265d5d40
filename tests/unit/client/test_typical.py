"""Typical members stand for groups, and differences of two recordings are those of the definition."""

from __future__ import annotations

import numpy as np
import pytest

from leym.client.differences import differences
from leym.client.typical import typical


def rows_of(groups: list[tuple[float, float, int]]) -> list[dict[str, float]]:
    rng = np.random.default_rng(7)
    return [
        {"activity": a + rng.normal(0, 0.001), "entropy": e + rng.normal(0, 0.1)}
        for a, e, n in groups
        for _ in range(n)
    ]


def test_one_of_each_group_is_chosen_and_the_largest_group_is_first() -> None:
    rows = rows_of([(0.1, 10, 5), (0.2, 90, 30), (0.9, 40, 12)])
    chosen = typical(rows, ["activity", "entropy"], 3)
    assert [0 if i < 5 else 1 if i < 35 else 2 for i in chosen] == [1, 2, 0]
    assert typical(rows, ["activity", "entropy"], 3) == chosen


def test_rows_without_a_value_are_left_out_and_equal_ones_are_chosen_once() -> None:
    rows = [{"activity": 1.0}, {"activity": None}, {"activity": 1.0}, {"activity": 2.0}]
    assert {rows[i]["activity"] for i in typical(rows, ["activity"], 6)} == {1.0, 2.0}
    assert len(typical(rows, ["activity"], 6)) == 2
    with pytest.raises(ValueError, match="no member has a result"):
        typical([{"activity": None}], ["activity"], 2)


def test_the_difference_of_angles_is_taken_on_the_circle() -> None:
    mine = np.array([0, 10, 20]), np.full((3, 2, 2), 3.1, np.float32)
    others = np.array([10, 20, 30]), np.full((3, 2, 2), -3.1, np.float32)
    others[1][1, 0, 0] = 3.1
    found = differences("phase", mine, others)
    near = np.abs(np.angle(np.exp(1j * (3.1 + 3.1))))
    assert found["step"].tolist() == [10, 20]
    np.testing.assert_allclose(found["mean"], [near, near * 3 / 4], rtol=1e-4)
    np.testing.assert_allclose(found["cells"], [1, 3 / 4])


def test_what_cannot_be_compared_is_refused() -> None:
    one, other = (np.array([0]), np.zeros((1, 2, 2))), (np.array([1]), np.zeros((1, 2, 2)))
    with pytest.raises(ValueError, match="no step in common"):
        differences("density", one, other)
    with pytest.raises(ValueError, match="cannot be compared"):
        differences("density", one, (np.array([0]), np.zeros((1, 3, 2))))


def test_complex_states_are_compared_by_the_length_of_their_difference() -> None:
    one, other = (np.array([5]), np.full((1, 1, 1, 2), 1 + 0j)), (np.array([5]), np.full((1, 1, 1, 2), 1j))
    np.testing.assert_allclose(differences("psi", one, other)["largest"], [np.sqrt(2)])
