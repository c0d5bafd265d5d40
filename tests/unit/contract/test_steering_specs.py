"""Gamma schedules and interventions in a JobSpec: what is taken, what is refused, and what stays as it was."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from leym.contract.gamma import gamma_at, gamma_changed, gamma_from, gamma_within
from leym.contract.interventions import live_change, misfits
from leym.contract.spec import JobSpec, inherit, stored_spec
from leym.contract.sweep_plan import SweepPlan
from leym.contract.sweeps import SweepSpec
from leym.jobs.submit import job_request

BASE: dict[str, Any] = {"law": "aurora", "grid": [16, 20], "steps": 100}
DISC = {"kind": "disc", "y": 1, "x": 2, "radius": 3}
VORTEX = {"kind": "vortex", "step": 5, "y": 3, "x": 4, "radius": 2}


def spec(**keys: Any) -> JobSpec:
    return JobSpec.model_validate(BASE | keys)


def test_a_request_without_the_new_keys_is_identified_as_before():
    assert set(job_request(spec())["job"]) == {
        *("law", "grid", "steps", "seed", "initial", "gamma", "precision", "record", "observe", "priority"),
        *("deadline_s", "ttl_s", "tags"),
    }
    assert job_request(spec(interventions=[VORTEX])) != job_request(spec())


def test_a_steered_spec_survives_storage():
    steered = spec(
        gamma=[[0, 0.01], [50, 0.2]],
        interventions=[
            VORTEX,
            {"kind": "paint", "step": 5, "y": 1, "x": 1, "radius": 0, "channel": 0, "phase": 1.5},
            {
                "kind": "set",
                "step": 9,
                "vector": [[1, 0], [0, -1]],
                "region": {"kind": "disc", "y": 1, "x": 2, "radius": 3},
            },
        ],
    )
    stored = steered.model_dump(mode="json")
    assert stored["gamma"] == [[0, 0.01], [50, 0.2]]
    assert stored_spec(stored) == steered


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"gamma": []}, "1 to 1000 points; got 0"),
        ({"gamma": [[1, 0.1]]}, "begins at step 0"),
        ({"gamma": [[0, 0.1], [0, 0.2]]}, "step 0 follows step 0"),
        ({"gamma": [[0, 0.1], [100, 0.2]]}, "gamma.1.0 = 100: it must be below steps = 100"),
        ({"gamma": [[0, 11]]}, "gamma = 11 from step 0: it must be between 0 and 10"),
        ({"gamma": 11}, "less than or equal to 10"),
        ({"gamma": [[0, True]]}, "true and false"),
        ({"gamma": True}, "true and false"),
        ({"gamma": [[0, "0.1"]]}, "not text"),
        ({"gamma": [0, 1]}, "tuple"),
        ({"interventions": [VORTEX | {"step": 100}]}, "interventions.0.step = 100: it must be below steps = 100"),
        ({"interventions": [VORTEX | {"step": None}]}, "interventions.0.step = null"),
        ({"interventions": [VORTEX | {"y": 16}]}, "interventions.0.y = 16: it must be below 16, the height"),
        ({"interventions": [VORTEX | {"charge": 0}]}, "charge = 0"),
        ({"interventions": [{"kind": "set", "step": 1}]}, "exactly one of them is needed; 0 are given"),
        ({"interventions": [{"kind": "gamma", "step": 1, "value": 0.1}]}, "does not match any of the expected tags"),
        ({"interventions": [{"kind": "noise", "step": 1, "strength": 0.1, "size": 3}]}, "Extra inputs"),
        (
            {"interventions": [{"kind": "wave", "step": 1, "region": {"kind": "rectangle", "y": 0, "x": 0, "height": 1,
                                                                        "width": 21}}]},
            "interventions.0.region.width = 21: the width of the grid is 20",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_by_key_value_and_bound(keys, words):
    with pytest.raises(ValidationError) as error:
        spec(**keys)
    assert words in str(error.value)


def test_what_does_not_fit_the_law_is_named():
    vector = live_change({"kind": "set", "vector": [[1, 0]]})
    channel = live_change({"kind": "paint", "y": 0, "x": 0, "radius": 1, "channel": 4})
    assert list(misfits(vector, (16, 20), 1)) == []
    assert list(misfits(vector, (16, 20), 4)) == ["vector = [[1.0, 0.0]]: 1 pairs [re, im]; the law has 4 channels"]
    assert list(misfits(channel, (16, 20), 4)) == ["channel = 4: the law has the channels 0 to 3"]


schedules = st.builds(
    lambda first, more: ((0, first), *sorted(more.items())),
    st.floats(0, 10),
    st.dictionaries(st.integers(1, 40), st.floats(0, 10), max_size=5),
)


@given(schedules, st.integers(0, 45), st.integers(1, 45), st.floats(0, 10))
def test_schedules_are_functions_of_the_step(points, at, steps, value):
    def by_hand(step):
        return max((point for point in points if point[0] <= step), key=lambda point: point[0])[1]

    assert [gamma_at(points, step) for step in range(50)] == [by_hand(step) for step in range(50)]
    later = gamma_from(points, at, steps)
    assert [gamma_at(later, step) for step in range(steps)] == [by_hand(at + step) for step in range(steps)]
    within = gamma_within(points, steps)
    assert [gamma_at(within, step) for step in range(steps)] == [by_hand(step) for step in range(steps)]
    until = min((step for step, _ in points if step > at), default=50)
    expected = [value if at <= step < until else by_hand(step) for step in range(50)]
    changed = gamma_changed(points, at, value)
    assert [gamma_at(changed, step) for step in range(50)] == expected
    for found in (later, within, changed):
        assert spec(gamma=found, steps=1000)


def test_a_fork_inherits_the_rest_of_the_schedule():
    source = spec(gamma=[[0, 0.01], [30, 0.02], [60, 0.03]]).model_dump(mode="json")
    initial = {"kind": "state", "job": "0" * 26, "step": 40}
    assert inherit(spec(initial=initial), source).gamma == ((0, 0.02), (20, 0.03))
    assert inherit(spec(initial=initial, steps=20), source).gamma == 0.02
    assert inherit(spec(initial=initial, gamma=0.5), source).gamma == 0.5
    on_its_clock = {"kind": "continue", "job": "0" * 26, "step": 40}
    assert inherit(spec(initial=on_its_clock, steps=55), source).gamma == ((0, 0.01), (30, 0.02))


def test_an_axis_may_hold_schedules_and_numbers():
    base = BASE | {"gamma": [[0, 0.1], [50, 0.2]]}
    plan = SweepPlan(SweepSpec.model_validate({"base": base, "axes": {"gamma": [0.3, [[0, 0], [9, 1]]]}}))
    assert plan.job(0).gamma == 0.3
    assert plan.job(1).gamma == ((0, 0.0), (9, 1.0))
    assert plan.column("gamma", next(plan.groups([]))) == [0.3, [[0, 0], [9, 1]]]
    assert len(list(plan.shapes())) == 1
    other = SweepPlan(SweepSpec.model_validate({"base": base, "axes": {"seed": {"count": 2}}}))
    assert other.column("gamma", next(other.groups([]))) == [[[0, 0.1], [50, 0.2]]] * 2
