"""Members that are added to a sweep follow those before them, which keep their indices, points and shapes."""

from __future__ import annotations

import itertools
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leym.contract.sweep_parts import PlanOfParts
from leym.contract.sweep_plan import SweepPlan
from leym.contract.sweeps import MoreMembers, SweepSpec

BASE = {"law": "aurora", "grid": [8, 8], "steps": 10}
GAMMA = st.one_of(
    st.lists(st.sampled_from([0, 0.25, 0.5, 1]), min_size=1, max_size=3),
    st.tuples(st.just(0.0), st.just(1.0), st.integers(1, 3)).map(lambda span: {"linspace": list(span)}),
)
STEPS = st.lists(st.sampled_from([10, 20, 30]), min_size=1, max_size=3)
SEED = st.one_of(
    st.lists(st.integers(0, 5), min_size=1, max_size=3),
    st.builds(lambda start, count: {"start": start, "count": count}, st.integers(0, 5), st.integers(1, 3)),
)
STRENGTH = st.lists(st.sampled_from([0.1, 0.2]), min_size=1, max_size=2)
AXES = {"gamma": GAMMA, "steps": STEPS, "seed": SEED, "initial.strength": STRENGTH}
PART = st.tuples(
    st.permutations(list(AXES)).flatmap(lambda keys: st.fixed_dictionaries({key: AXES[key] for key in keys})),
    st.one_of(st.just("product"), st.builds(lambda n: {"sample": "random", "count": n, "seed": 3}, st.integers(1, 5))),
)


def values_of(axis: Any) -> list[Any]:
    if isinstance(axis, list):
        return axis
    if "linspace" in axis:
        return np.linspace(*axis["linspace"]).tolist()
    return list(range(axis["start"], axis["start"] + axis["count"]))


def listed(axes: dict[str, Any], mode: Any) -> list[dict[str, Any]]:
    """The points of one part, by brute force; drawn ones as a sweep of their own has them."""
    if mode == "product":
        return [dict(zip(axes, row, strict=True)) for row in itertools.product(*map(values_of, axes.values()))]
    alone = SweepPlan(SweepSpec.model_validate({"base": BASE, "axes": axes, "mode": mode}))
    return [alone.point(index) for index in range(alone.size)]


def plan_of(parts: list[tuple[dict[str, Any], Any]]) -> PlanOfParts:
    first, *more = parts
    spec = SweepSpec.model_validate({"base": BASE, "axes": first[0], "mode": first[1]})
    return PlanOfParts(spec, [MoreMembers.model_validate({"axes": axes, "mode": mode}) for axes, mode in more])


@given(st.lists(PART, min_size=1, max_size=4))
def test_an_index_is_a_place_in_the_list_of_all_points(parts: list[tuple[dict[str, Any], Any]]) -> None:
    plan, expected = plan_of(parts), [point for part in parts for point in listed(*part)]
    everything = np.arange(plan.size)
    assert plan.size == len(expected)
    assert plan.dims == {"member": plan.size}
    assert [plan.point(index) for index in range(plan.size)] == expected
    assert [plan.job(index).steps for index in range(plan.size)] == [point["steps"] for point in expected]
    for key in plan.axes:
        assert plan.values_of(key, everything[::-1]) == [point[key] for point in expected[::-1]]
    assert plan.column("seed", everything) == [point["seed"] for point in expected]
    assert [state.strength for state in plan.column("initial", everything)] == [p["initial.strength"] for p in expected]
    with pytest.raises(IndexError):
        plan.point(plan.size)


@given(st.lists(PART, min_size=2, max_size=4), st.data())
def test_what_is_added_changes_nothing_before_it(parts: list[tuple[dict[str, Any], Any]], data: st.DataObject) -> None:
    before, after = plan_of(parts[:-1]), plan_of(parts)
    old = np.arange(before.size)
    some = np.array(sorted(data.draw(st.sets(st.integers(0, after.size - 1), min_size=1))))
    assert [after.point(index) for index in old] == [before.point(index) for index in old]
    np.testing.assert_array_equal(after.shape_of(old), before.shape_of(old))
    alone = SweepPlan(before.spec)
    np.testing.assert_array_equal(alone.shape_of(np.arange(alone.size)), after.shape_of(np.arange(alone.size)))

    shapes = list(after.shapes())
    assert [shape.number for shape in shapes] == list(range(len(shapes)))
    assert sorted(np.concatenate([shape.indices for shape in shapes]).tolist()) == list(range(after.size))
    number_of = {index: shape.number for shape in shapes for index in shape.indices.tolist()}
    assert after.shape_of(some).tolist() == [number_of[index] for index in some.tolist()]
    for shape in shapes:
        assert len({after.point(index)["steps"] for index in shape.indices.tolist()}) == 1

    found = [group.tolist() for group in after.groups(["steps"])]
    by_steps: dict[str, list[int]] = {}
    for index in range(after.size):
        by_steps.setdefault(json.dumps(after.point(index)["steps"]), []).append(index)
    assert sorted(found) == sorted(by_steps.values())
    firsts = [group[0] for group in found if group[0] < before.size]
    assert firsts == [int(group[0]) for group in before.groups(["steps"])]  # and the new ones come after them


def test_the_axes_must_be_those_of_the_sweep() -> None:
    spec = SweepSpec.model_validate({"base": BASE, "axes": {"gamma": [0], "seed": [1]}})
    with pytest.raises(ValueError, match="axes has the keys 'seed'; those of the sweep are 'gamma', 'seed'"):
        MoreMembers.model_validate({"axes": {"seed": [2]}}).of(spec)
    with pytest.raises(ValueError, match="equal lengths"):
        MoreMembers.model_validate({"axes": {"seed": [2, 3], "gamma": [0]}, "mode": "zip"})
    with pytest.raises(ValueError, match="is a distribution"):
        MoreMembers.model_validate({"axes": {"gamma": {"uniform": [0, 1]}}})


def test_a_million_members_of_two_parts_are_arrays() -> None:
    half = {"gamma": {"linspace": [0, 1, 500]}, "seed": {"start": 0, "count": 1000}}
    plan = plan_of([(half, "product"), (half | {"seed": {"start": 1000, "count": 1000}}, "product")])
    assert plan.size == 1_000_000
    assert {type(values) for values in plan.axes.values()} == {np.ndarray}
    assert plan.point(999_999) == {"gamma": 1.0, "seed": 1999}
    assert [len(shape.indices) for shape in plan.shapes()] == [500_000, 500_000]


def test_start_states_of_a_later_part_count() -> None:
    spec = SweepSpec.model_validate({"base": BASE, "axes": {"initial": [{"kind": "zeros"}]}})
    more = MoreMembers.model_validate({"axes": {"initial": [{"kind": "upload", "id": "0" * 64}]}})
    assert not PlanOfParts(spec, []).starts_from_stored
    assert PlanOfParts(spec, [more]).starts_from_stored
