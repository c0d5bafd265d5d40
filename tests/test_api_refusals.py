"""What the API refuses, it refuses with a problem that names key, value and bound, and without a trace in the table."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from leym.spec import LIMITS
from tests.test_api_support import SPEC, Api, opened, refused

ID = "0" * 26


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with opened(tmp_path) as found:
        yield found


REFUSALS: list[tuple[dict[str, Any], str, tuple[str, ...]]] = [
    ({"law": "nothing"}, "/law", ("nothing", "aurora")),
    ({"law": "aurora@00000000"}, "/law", ("aurora@00000000",)),
    ({"law": "../aurora"}, "/law", ("../aurora",)),
    ({"grid": [10, 8]}, "/grid/0", ("grid.0 = 10", "divisible by 4")),
    ({"grid": [8, 3000]}, "/grid", ("3000", "1024")),
    ({"grid": [8]}, "/grid/1", ("grid",)),
    ({"steps": 0}, "/steps", ("steps = 0", "1")),
    ({"steps": -5}, "/steps", ("steps = -5",)),
    ({"steps": 10**12}, "/steps", ("steps = 1000000000000", str(LIMITS.steps))),
    ({"steps": 1.5}, "/steps", ("steps = 1.5",)),
    ({"record": [{"field": "phase", "every": 31}]}, "/record/0/every", ("record.0.every = 31", "steps = 30")),
    ({"record": [{"field": "phase", "every": 0}]}, "/record/0/every", ("record.0.every = 0", "1")),
    ({"record": [{"field": "colour", "every": 1}]}, "/record/0/field", ("colour", "phase")),
    ({"record": [{"field": "phase", "every": 1, "dtype": "complex64"}]}, "/record/0", ("complex64", "float16")),
    ({"record": [{"field": "phase", "every": 1}] * 2}, "/record", ("phase", "twice")),
    ({"observe": {"every": 1, "names": ["mood"]}}, "/observe/names", ("mood", "coherence")),
    ({"gamma": -0.5}, "/gamma", ("gamma = -0.5", "0")),
    ({"gamma": "much"}, "/gamma", ('gamma = "much"',)),
    ({"seed": 2**63}, "/seed", ("seed",)),
    ({"webhook": {"url": "https://example.org/x"}}, "/webhook", ("https://example.org/x", "not called", "events")),
    ({"colour": "red"}, "/colour", ('colour = "red"', "no such key")),
    ({"initial": {"kind": "sunny"}}, "/initial", ("sunny", "complex_noise")),
    ({"initial": {"kind": "complex_noise", "strength": 99}}, "/initial/strength", ("initial.strength = 99", "10")),
    ({"initial": {"kind": "upload", "id": "0" * 64}}, "/initial/id", ("0" * 64,)),
    ({"initial": {"kind": "state", "job": ID, "step": 3}}, "/initial/job", (ID,)),
    ({"grid": [1024, 1024], "steps": 10**5, "record": [{"field": "psi", "every": 1}]}, "/record", ("bytes",)),
]


@pytest.mark.parametrize(("wrong", "pointer", "named"), REFUSALS)
def test_a_wrong_key_is_refused_by_name_value_and_bound(
    api: Api, wrong: dict[str, Any], pointer: str, named: tuple[str, ...]
) -> None:
    refused(api.http.post("/v1/jobs", json=SPEC | wrong), 422, *named, pointer=pointer)
    base = {"base": SPEC | wrong, "axes": {"priority": [1, 2]}}
    refused(api.http.post("/v1/sweeps", json=base), 422, pointer=f"/base{pointer}")
    assert api.http.get("/v1/jobs").json["items"] == []
    assert api.table.totals()["submitted"] == 0


@pytest.mark.parametrize(
    ("data", "kind", "status", "named"),
    [
        (b'{"law": "aurora", ', "application/json", 400, "JSON"),
        (b"", "application/json", 400, "JSON"),
        (b'{"law": "aurora", "gamma": NaN}', "application/json", 400, "NaN"),
        (b'{"steps": 1, "steps": 2}', "application/json", 400, "'steps'"),
        (b"[" * 100_000, "application/json", 400, "nested"),
        (b"[]", "application/json", 422, "object"),
        (b"{}", "text/plain", 415, "text/plain"),
        (b"{}", "application/x-www-form-urlencoded", 415, "application/x-www-form-urlencoded"),
        (b"{}", "", 415, "application/json"),
        (b"{" + b" " * LIMITS.body_bytes + b"}", "application/json", 413, str(LIMITS.body_bytes)),
    ],
)
def test_a_body_that_is_no_request(api: Api, data: bytes, kind: str, status: int, named: str) -> None:
    for path in ("/v1/jobs", "/v1/sweeps"):
        refused(api.http.post(path, data=data, content_type=kind), status, named)
    assert api.table.totals()["submitted"] == 0


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


GOOD = np.ones((8, 12, 4), np.complex64)


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (b"no numpy file", ("npy",)),
        (npy(GOOD)[:-8], ()),
        (npy(np.where(np.arange(4) == 2, np.nan, GOOD).astype(np.complex64)), ("finite",)),
        (npy(np.where(np.arange(4) == 2, np.inf, GOOD).astype(np.complex64)), ("finite",)),
        (npy(GOOD[0]), ("[H, W, d]",)),
        (npy(GOOD.astype(np.complex128)), ("complex64", "complex128")),
    ],
)
def test_a_state_that_is_none_is_refused(api: Api, data: bytes, named: tuple[str, ...]) -> None:
    refused(api.http.post("/v1/states", data=data), 422, *named)
    assert list(api.store.list("states/")) == []


def test_states_are_bounded_and_must_fit_the_job(api: Api) -> None:
    too_long = {"CONTENT_LENGTH": str(LIMITS.upload_bytes + 1)}
    refused(
        api.http.post("/v1/states", data=b"x", environ_overrides=too_long),
        413,
        str(LIMITS.upload_bytes + 1),
        str(LIMITS.upload_bytes),
    )
    answer = api.http.post("/v1/states", data=npy(GOOD))
    assert answer.status_code == 201 and answer.json["shape"] == [8, 12, 4]
    assert api.http.post("/v1/states", data=npy(GOOD)).json == answer.json
    initial = {"kind": "upload", "id": answer.json["id"]}
    api.submit(initial=initial)
    wrong = api.http.post("/v1/jobs", json=SPEC | {"grid": [8, 8], "initial": initial})
    refused(wrong, 422, "[8, 12, 4]", "[8, 8, 4]", pointer="/initial/id")


def test_what_is_not_there_and_what_is_not_allowed(api: Api) -> None:
    for path in ("", "/frames", "/frames/phase", "/observables", "/events", "/store.zarr/zarr.json"):
        refused(api.http.get(f"/v1/jobs/{ID}{path}"), 404, ID)
    refused(api.http.post(f"/v1/jobs/{ID}/cancel"), 404, ID)
    refused(api.http.delete(f"/v1/jobs/{ID}"), 404, ID)
    for path in ("", "/jobs", "/table"):
        refused(api.http.get(f"/v1/sweeps/{ID}{path}"), 404, ID)
    refused(api.http.get("/v1/laws/nothing"), 404, "nothing", "aurora")
    refused(api.http.get("/v2"), 404, "/v2")
    refused(api.http.put("/v1/jobs"), 405, "PUT", "GET")
    refused(api.http.get("/v1/jobs?colour=red"), 422, "colour", pointer="/colour")
    refused(api.http.get("/v1/jobs?limit=1000"), 422, "1000", "200", pointer="/limit")
    refused(api.http.get("/v1/jobs?cursor=x"), 422, "cursor", pointer="/cursor")
    refused(api.http.get("/v1/jobs?tag=x"), 422, "tag", pointer="/tag")
    refused(api.http.get(f"/v1/jobs/{ID}?wait=61"), 422, "61", "60", pointer="/wait")
    refused(api.http.get(f"/v1/jobs/{ID}?wait=nan"), 422, pointer="/wait")


def test_truth_values_are_no_numbers(api: Api) -> None:
    """Python takes true for 1."""
    for key, value in (("seed", False), ("steps", True), ("gamma", True), ("grid", [8, True])):
        answer = api.http.post("/v1/jobs", json=SPEC | {key: value})
        assert answer.status_code == 422, key
        assert f"{key} = " in answer.json["detail"] and "true and false are no values" in answer.json["detail"]
