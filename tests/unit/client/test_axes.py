"""Arguments of `Client.sweep` become the axes that the caller means."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from leym.client import choice, latin_hypercube, linspace, logspace, loguniform, random_points, uniform
from leym.client.axes import axis_body, is_axis, split_axes, sweep_body, sweep_request
from leym.client.requests import job_body
from leym.contract.sweeps import SweepSpec


@pytest.mark.parametrize(
    ("values", "body"),
    [
        (range(5, 9), {"start": 5, "count": 4}),
        (range(0, 10, 5), [0, 5]),
        (range(-2, 1), [-2, -1, 0]),
        (np.arange(3, 6), {"start": 3, "count": 3}),
        (np.array([3, 5, 6]), [3, 5, 6]),
        (np.linspace(0, 1, 3), [0.0, 0.5, 1.0]),
        ((0.1, np.float32(0.5)), [0.1, 0.5]),
        (linspace(0, 0.05, 20), {"linspace": [0, 0.05, 20]}),
        (logspace(1e-3, 1, np.int64(4)), {"logspace": [1e-3, 1, 4]}),
        (uniform(0, 1), {"uniform": [0, 1]}),
        (loguniform(0.1, 1), {"loguniform": [0.1, 1]}),
        (choice(("nf4", "fp32")), {"choice": ["nf4", "fp32"]}),
        ({"start": 0, "count": 3}, {"start": 0, "count": 3}),
    ],
)
def test_an_axis_is_sent_in_its_short_form(values: Any, body: Any) -> None:
    assert axis_body(values) == body


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("seed", range(3), True),
        ("seed", [1, 2], True),
        ("seed", np.arange(3), True),
        ("seed", 7, False),
        ("gamma", linspace(0, 1, 3), True),
        ("gamma", {"linspace": [0, 1, 3]}, True),
        ("gamma", [0.0, 0.01], True),
        ("gamma", [[0, 0.01], [500, 0.05]], False),
        ("gamma", [0.0, [[0, 0.01], [500, 0.05]]], True),
        ("gamma", [[[0, 0.01], [500, 0.05]], [[0, 0.0], [9, 0.1]]], True),
        ("grid", (64, 64), False),
        ("grid", [64, 64], False),
        ("grid", [(32, 32), (64, 64)], True),
        ("precision", "nf4", False),
        ("precision", ["nf4", "fp32"], True),
        ("initial", {"kind": "zeros"}, False),
        ("initial", [{"kind": "zeros"}, {"kind": "random"}], True),
        ("record", ["phase"], False),
        ("observe", ["activity", "coherence"], False),
        ("tags", {"choice": "x"}, False),
    ],
)
def test_a_sequence_of_values_is_an_axis_and_one_value_is_none(key: str, value: Any, expected: bool) -> None:
    assert is_axis(key, value) is expected


def test_axes_are_found_among_the_arguments_in_their_order() -> None:
    initial = {"kind": "complex_noise", "strength": [0.1, 0.2]}
    base, axes = split_axes({"gamma": [0.0, 0.1], "initial": initial, "steps": 5, "seed": range(3)}, {"law": ["a"]})
    assert base == {"initial": {"kind": "complex_noise"}, "steps": 5}
    assert list(axes) == ["law", "gamma", "initial.strength", "seed"]


def test_wrong_axes_say_what_is_wrong() -> None:
    with pytest.raises(ValueError, match="'seed' is given twice"):
        split_axes({"seed": range(3)}, {"seed": [1]})
    with pytest.raises(ValueError, match="needs an axis"):
        split_axes({"seed": 3}, {})
    with pytest.raises(ValueError, match=r"'initial.strength' with a dot"):
        split_axes({"initial.strength": 0.1}, {})


@pytest.mark.parametrize("mode", ["product", "zip"])
def test_the_service_understands_the_body(mode: str) -> None:
    axes = {"seed": range(5, 9), "gamma": [0, 0.1, 0.2, 0.3]}
    body = sweep_body(job_body("aurora"), axes, mode)
    assert "stop" not in body
    assert SweepSpec.model_validate(body).size() == {"product": 16, "zip": 4}[mode]


def test_modes_and_rules_of_a_sweep() -> None:
    stop = ["frozen", {"observable": "activity", "below": np.float64(0.5), "for": 3}]
    body = sweep_body({"law": "aurora"}, {"gamma": uniform(0, 1)}, latin_hypercube(100, seed=1), stop)
    assert body["mode"] == {"sample": "latin_hypercube", "count": 100, "seed": 1}
    assert body["stop"] == [{"when": "frozen"}, {"observable": "activity", "below": 0.5, "for": 3}]
    assert random_points(5) == {"sample": "random", "count": 5, "seed": 0}


@pytest.mark.parametrize(("key", "kind"), [("strength", "complex_noise"), ("scale", "smooth")])
def test_an_axis_of_the_start_state_says_its_kind(key: str, kind: str) -> None:
    def body(law: Any, **spec: Any) -> dict[str, Any]:
        return {"law": law} | spec

    for axes, spec in (({f"initial.{key}": [1, 2]}, {}), ({}, {"initial": {key: [1, 2]}})):
        found = sweep_request(body, "aurora", axes, "product", (), spec)
        assert found["base"]["initial"] == {"kind": kind}
        assert found["axes"] == {f"initial.{key}": [1, 2]}
    kept = sweep_request(body, "aurora", {"initial.strength": [1, 2]}, "product", (), {"initial": {"kind": "seed"}})
    assert kept["base"]["initial"] == {"kind": "seed"}, "the service refuses it and says why"
