"""Arguments of the SDK become the JobSpec that the caller means."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from leym.client.axes import sweep_body
from leym.client.requests import job_body
from leym.contract.interventions import Disc
from leym.contract.spec import JobSpec, Observe, Recording
from leym.contract.sweep_plan import SweepPlan
from leym.contract.sweeps import SweepSpec


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"phase": 10}, [("phase", 10, "float32")]),
        ("phase", [("phase", 5, "float32")]),
        (["phase", "psi"], [("phase", 5, "float32"), ("psi", 5, "complex64")]),
        ([Recording(field="density", every=7, dtype="float16")], [("density", 7, "float16")]),
        ([{"field": "density", "dtype": "float16"}], [("density", 5, "float16")]),
        ((), []),
    ],
)
def test_recordings(record: Any, expected: list[tuple[str, int, str]]) -> None:
    spec = JobSpec.model_validate(job_body("aurora", steps=500, record=record))
    assert [(r.field, r.every, r.stored_dtype) for r in spec.record] == expected


@pytest.mark.parametrize(
    ("observe", "expected"),
    [
        (None, None),
        (False, None),
        (True, Observe(every=5)),
        (20, Observe(every=20)),
        (np.int64(20), Observe(every=20)),
        ("activity", Observe(every=5, names=("activity",))),
        (["activity", "coherence"], Observe(every=5, names=("activity", "coherence"))),
        ({"names": ["activity"]}, Observe(every=5, names=("activity",))),
        (Observe(every=3), Observe(every=3)),
    ],
)
def test_observables(observe: Any, expected: Observe | None) -> None:
    assert JobSpec.model_validate(job_body("aurora", steps=500, observe=observe)).observe == expected


def test_a_ready_spec_is_sent_as_it_is() -> None:
    spec = JobSpec(law="aurora", grid=(8, 16), steps=30, seed=5, record=(Recording(field="psi", every=3),))
    assert JobSpec.model_validate(job_body(spec)) == spec
    assert "gamma" not in job_body(spec)  # what is left out may be inherited


def test_numpy_numbers_and_square_grids() -> None:
    body = job_body("aurora", grid=32, steps=10, seed=np.int64(3), gamma=np.float32(0.5), initial={"kind": "zeros"})
    spec = JobSpec.model_validate(body)
    assert (spec.grid, spec.seed, spec.gamma, spec.initial.kind) == ((32, 32), 3, 0.5, "zeros")


def test_axes_of_a_sweep() -> None:
    axes = {"seed": range(5, 9), "gamma": np.linspace(0, 1, 3), "initial.strength": (0.1, 0.2)}
    sweep = SweepSpec.model_validate(sweep_body(job_body("aurora"), axes, "product"))
    plan = SweepPlan(sweep)
    assert plan.axes == {"seed": range(5, 9), "gamma": [0.0, 0.5, 1.0], "initial.strength": [0.1, 0.2]}
    assert plan.size == 24


def test_interventions_take_complex_vectors_and_schedules_of_gamma() -> None:
    vector = np.array([1, 0.5j], np.complex64)
    planned = [{"step": 5, "kind": "set", "vector": vector}, {"step": 9, "kind": "wave", "kx": np.float32(0.5)}]
    spec = JobSpec.model_validate(job_body("aurora", gamma=[(0, 0.01), (500, 0.05)], interventions=planned))
    assert spec.gamma == ((0, 0.01), (500, 0.05))
    assert spec.interventions[0].model_dump()["vector"] == ((1.0, 0.0), (0.0, 0.5))
    assert spec.interventions[1].step == 9
    again = JobSpec.model_validate(job_body("aurora", interventions=list(spec.interventions)))
    assert again.interventions == spec.interventions


@pytest.mark.parametrize(
    ("initial", "kind"),
    [
        ({"strength": 0.5}, "complex_noise"),
        ({"scale": 3, "re": [0, 1]}, "smooth"),
        ({"job": "0" * 26, "step": 3}, "state"),
        ({"id": "0" * 64}, "upload"),
        ({"kind": "zeros"}, "zeros"),
    ],
)
def test_a_start_state_has_the_kind_that_its_keys_belong_to(initial: dict[str, Any], kind: str) -> None:
    assert JobSpec.model_validate(job_body("aurora", initial=initial)).initial.kind == kind


def test_a_start_state_whose_keys_belong_to_two_kinds_is_left_to_the_service() -> None:
    assert "kind" not in job_body("aurora", initial={"strength": 1, "scale": 2})["initial"]


def test_interventions_and_webhooks_have_short_forms() -> None:
    noise = {"step": 2, "kind": "noise", "strength": 1, "region": Disc(y=3, x=3, radius=2)}
    body = job_body("aurora", interventions=[noise], webhook="https://example.org/x", gamma=[(0, 0.1), (9, 0.2)])
    spec = JobSpec.model_validate(body)
    assert spec.interventions[0].model_dump(exclude_none=True)["region"]["radius"] == 2
    assert body["webhook"] == {"url": "https://example.org/x"}
    assert spec.gamma == ((0, 0.1), (9, 0.2))
