"""Sweeps expand lazily, in the order that their mode says, to the same points whenever they are read."""

from __future__ import annotations

import itertools
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.stats import qmc

from leym.contract.spec import JobSpec, Observe
from leym.contract.stop_rules import check_stop_rules
from leym.contract.sweep_plan import SweepPlan
from leym.contract.sweeps import SweepSpec, with_point

BASE = {"law": "aurora", "grid": [8, 8], "steps": 10}


def plan(axes: dict[str, Any], mode: Any = "product", base: dict[str, Any] = BASE, **more: Any) -> SweepPlan:
    return SweepPlan(SweepSpec.model_validate({"base": base, "axes": axes, "mode": mode, **more}))


AXES = {
    "gamma": [0, 0.5],
    "grid": [[8, 8], [8, 16]],
    "seed": {"start": 7, "count": 3},
    "initial.strength": {"linspace": [0.1, 0.2, 2]},
}


def test_a_product_has_the_order_of_nested_loops() -> None:
    found = plan(AXES)
    values = [[0, 0.5], [[8, 8], [8, 16]], range(7, 10), [0.1, 0.2]]
    expected = [dict(zip(AXES, row, strict=True)) for row in itertools.product(*values)]
    assert [found.point(i) for i in range(found.size)] == expected
    assert found.dims == {"gamma": 2, "grid": 2, "seed": 3, "initial.strength": 2}
    with pytest.raises(IndexError, match="member 24 of a sweep of 24"):
        found.point(24)


@given(st.lists(st.integers(0, 23), max_size=30))
def test_columns_are_those_of_the_specs(indices: list[int]) -> None:
    axes = AXES | {"initial.kind": ["complex_noise"]}
    for found in (plan(axes), plan(AXES, base=BASE | {"seed": 4}), plan({"seed": {"count": 24}})):
        specs = [found.job(i) for i in indices]
        for key in ("seed", "gamma", "initial"):
            assert found.column(key, np.array(indices, np.int64)) == [getattr(spec, key) for spec in specs]


@pytest.mark.parametrize("mode", ["product", "zip", {"sample": "random", "count": 40, "seed": 1}])
def test_a_shape_has_all_members_that_may_share_a_block(mode: Any) -> None:
    axes = {"steps": [10, 20, 10], "seed": {"count": 3}, "grid": [[8, 8], [8, 16], [8, 8]], "gamma": [0.0, 0.1, 0.2]}
    found = plan(axes, mode)
    shapes = list(found.shapes())
    assert [shape.number for shape in shapes] == list(range(found.count_groups(found.shaping)))
    assert sorted(i for shape in shapes for i in shape.indices.tolist()) == list(range(found.size))
    for shape in shapes:
        assert (np.diff(shape.indices) > 0).all()
        assert len({(found.job(i).steps, found.job(i).grid) for i in shape.indices.tolist()}) == 1
        assert set(found.shape_of(shape.indices).tolist()) == {shape.number}
    if mode != "product":
        assert len(shapes) == len({(found.job(i).steps, found.job(i).grid) for i in range(found.size)})


def test_zipped_axes_are_rows() -> None:
    found = plan({"seed": {"start": 5, "count": 3}, "gamma": {"logspace": [0.01, 1, 3]}}, "zip")
    assert [found.point(i)["seed"] for i in range(3)] == [5, 6, 7]
    assert [found.point(i)["gamma"] for i in range(3)] == pytest.approx([0.01, 0.1, 1.0])
    assert found.dims == {"member": 3}


def test_a_latin_hypercube_is_that_of_scipy() -> None:
    axes = {"gamma": {"uniform": [0, 1]}, "initial.strength": {"linspace": [0, 2, 5]}, "seed": {"count": 50}}
    found = plan(axes, {"sample": "latin_hypercube", "count": 50, "seed": 3})
    expected = qmc.LatinHypercube(3, rng=3).random(50)
    np.testing.assert_array_equal(found.axes["gamma"], expected[:, 0])
    np.testing.assert_array_equal(found.axes["initial.strength"], 2 * expected[:, 1])
    assert sorted(found.axes["seed"]) == list(range(50))  # one member in each of the 50 parts


def test_a_random_sample_stays_inside_its_axes_and_is_seeded() -> None:
    axes = {
        "gamma": {"loguniform": [0.001, 1]},
        "seed": {"start": 2**40, "count": 5},
        "precision": ["fp32", "nf4"],
        "initial.kind": {"choice": ["random", "zeros"]},
    }
    one, same, other = (plan(axes, {"sample": "random", "count": 500, "seed": seed}) for seed in (1, 1, 2))
    assert [one.point(i) for i in range(500)] == [same.point(i) for i in range(500)]
    assert [one.point(i) for i in range(9)] != [other.point(i) for i in range(9)]
    gamma = np.asarray(one.axes["gamma"])
    assert gamma.min() >= 0.001
    assert gamma.max() < 1
    assert 0.4 < (gamma < 0.001**0.5).mean() < 0.6  # half of the members in half of the decades
    assert set(one.axes["seed"]) == set(range(2**40, 2**40 + 5))
    assert {(one.job(i).precision, one.job(i).initial.kind) for i in range(500)} == set(
        itertools.product(("fp32", "nf4"), ("random", "zeros"))
    )


def test_a_million_members_take_no_memory() -> None:
    tracemalloc.start()
    found = plan({"gamma": {"linspace": [0, 1, 1000]}, "seed": {"count": 1000}})
    assert found.job(999_999) == JobSpec.model_validate(with_point(BASE, {"gamma": 1.0, "seed": 999}))
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("axes", "mode", "why"),
    [
        ({"seed": []}, "product", "at least one value"),
        ({"colour": [1]}, "product", "axis 'colour' is no key of a JobSpec"),
        ({"seed": [1, 2], "gamma": [0.0]}, "zip", "equal lengths, got {'seed': 2, 'gamma': 1}"),
        ({"seed": {"count": 1001}, "gamma": {"linspace": [0, 1, 1000]}}, "product", "1001000 jobs; at most 1000000"),
        ({"gamma": {"linspace": [0, 1, 0]}}, "product", "n = 0 values; 1 to 1000000"),
        ({"gamma": {"logspace": [0, 1, 3]}}, "product", "both be over 0"),
        ({"gamma": {"uniform": [1, 0]}}, {"sample": "random", "count": 2}, "lower end 1 must be under the upper end 0"),
        ({"gamma": {"uniform": [0, 1]}}, "product", "axis 'gamma' is a distribution"),
        ({"gamma": {"linspace": [0, "1", 3]}}, "product", "a number is needed, not text"),
        ({"gamma": [0]}, {"sample": "sobol", "count": 2}, "'random' or 'latin_hypercube'"),
        ({"gamma": [0]}, {"sample": "random", "count": 1_000_001}, "less than or equal to 1000000"),
    ],
)
def test_a_refusal_says_why(axes: Any, mode: Any, why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        plan(axes, mode)


def test_what_is_sent_is_what_is_stored() -> None:
    sent = {"base": BASE, "axes": {"seed": {"start": 0, "count": 2}, "gamma": [0, 0.5]}, "mode": "product"}
    assert SweepSpec.model_validate(sent).model_dump(mode="json") == sent  # as version 0.1.0 did
    more = sent | {
        "axes": {"gamma": {"uniform": [0.0, 1.0]}},
        "mode": {"sample": "random", "count": 3, "seed": 0},
        "stop": [
            {"when": "frozen", "for": 5},
            {"when": {"observable": "activity", "below": 0.1, "above": None}, "for": 2},
        ],
    }
    stored = SweepSpec.model_validate(more).model_dump(mode="json")
    assert stored == more
    assert SweepSpec.model_validate(stored).model_dump(mode="json") == more


def test_stop_rules_look_at_what_is_recorded() -> None:
    spec = JobSpec.model_validate(BASE | {"observe": {"every": 5, "names": ["fidelity"]}})
    frozen, low = plan(
        {"seed": [1]}, stop=[{"when": "frozen"}, {"observable": "overlap", "below": 0.5, "for": 3}]
    ).spec.stop
    assert (frozen.recordings, frozen.threshold) == (5, None)
    assert (low.recordings, low.threshold.below) == (3, 0.5)
    check_stop_rules((frozen, low), spec)  # an observable may have its old name
    with pytest.raises(ValueError, match=r"stop.0.when.observable = 'overlap' is not observed; observe.names has acti"):
        check_stop_rules((low,), spec.model_copy(update={"observe": Observe(every=1, names=("activity",))}))
    with pytest.raises(ValueError, match=r"stop.0.when = 'frozen' is checked at recordings"):
        check_stop_rules((frozen,), spec.model_copy(update={"observe": None}))


@pytest.mark.parametrize(
    "rule",
    [
        {"when": "bored"},
        {"observable": "activity"},
        {"observable": "activity", "below": 1, "above": 2},
        {"when": {"observable": "colour", "below": 1}},
        {"when": "frozen", "for": 0},
    ],
)
def test_an_unknown_stop_rule_is_refused(rule: Any) -> None:
    with pytest.raises(ValidationError):
        plan({"seed": [1]}, stop=[rule])
