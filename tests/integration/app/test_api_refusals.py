"""What the API refuses, it refuses with a problem that names key, value and bound, and without a trace in the table."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any, get_args

import numpy as np
import pytest
from pydantic import ValidationError

from app.models.access import LinkRequest
from leym.contract.fidelity_spec import FidelityRequest
from leym.contract.spec import LIMITS, FromJob, JobSpec, Observe, Recording
from leym.contract.sweeps import SeedRange, SweepSpec
from tests.support.api import SPEC, Api, refused

ID = "0" * 26


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
    assert answer.status_code == 201
    assert answer.json["shape"] == [8, 12, 4]
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
        assert f"{key} = " in answer.json["detail"]
        assert "true and false are no values" in answer.json["detail"]


LONE = "\ud83d"  # half of an emoji
ENCODINGS = ("utf-8", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be")


def encoded(body: dict[str, Any], encoding: str) -> bytes:
    """JSON as an encoder writes it that does not look at what it encodes; the emoji becomes CESU-8 in UTF-8."""
    return json.dumps(body, ensure_ascii=False).encode(encoding, "surrogatepass")


@pytest.mark.parametrize("bad", [LONE, "\ude00", LONE + "\ude00", "\x00"], ids=["high", "low", "cesu-8", "nul"])
@pytest.mark.parametrize(
    ("path", "wrong", "pointer"),
    [
        ("/v1/jobs", lambda bad: SPEC | {"tags": {"who": bad}}, "/tags/who"),
        ("/v1/jobs", lambda bad: SPEC | {"tags": {bad: "me"}}, "/tags/{}"),
        ("/v1/jobs", lambda bad: SPEC | {bad: 1}, "/{}"),
        ("/v1/jobs", lambda bad: SPEC | {"law": bad}, "/law"),
        ("/v1/jobs", lambda bad: SPEC | {"observe": {"every": 2, "names": ["activity", bad]}}, "/observe/names/1"),
        ("/v1/sweeps", lambda bad: {"base": SPEC, "axes": {"tags": [{"who": "me"}, {"who": bad}]}}, "/axes/tags/1/who"),
        ("/v1/sweeps", lambda bad: {"base": SPEC, "axes": {f"tags.{bad}": ["me"]}}, "/axes/tags.{}"),
        ("/v1/laws/aurora/fidelity", lambda bad: {"precision": "nf4", "tags": {"who": bad}}, "/tags/who"),
        ("/v1/session", lambda bad: {"token": bad}, "/token"),
    ],
)
def test_text_that_is_no_text_is_refused_in_any_encoding(
    api: Api, path: str, wrong: Callable[[str], dict[str, Any]], pointer: str, bad: str
) -> None:
    body = wrong(bad)
    where = pointer.format(bad.encode("utf-8", "backslashreplace").decode())
    bodies = [json.dumps(body).encode()]
    if bad != LONE + "\ude00":  # elsewhere this is how the whole emoji is written
        bodies += [encoded(body, encoding) for encoding in ENCODINGS if bad != "\x00"]
    else:
        bodies = [encoded(body, "utf-8")]
    for data in bodies:
        answer = api.http.post(path, data=data, content_type="application/json")
        said = refused(answer, 400, f"U+{ord(bad[0]):04X}", pointer=where)
        json.dumps(said, ensure_ascii=False).encode()  # the refusal itself is text
    assert api.table.totals()["submitted"] == 0


def test_text_of_any_language_is_kept_in_any_encoding(api: Api) -> None:
    tags = {"wer": "Grüße 😀", "誰": "кто"}
    for encoding in ENCODINGS:
        data = encoded(SPEC | {"tags": tags}, encoding)
        answer = api.http.post("/v1/jobs", data=data, content_type="application/json")
        assert answer.status_code == 202, encoding
        assert answer.json["tags"] == tags, encoding


@pytest.mark.parametrize(
    ("text", "pointer"),
    [
        ('"steps": "1_000"', "/steps"),
        ('"steps": "30"', "/steps"),
        ('"seed": "7"', "/seed"),
        ('"seed": 9007199254740993.0', "/seed"),
        ('"seed": 9.007199254740993e15', "/seed"),
        ('"gamma": "0.01"', "/gamma"),
        ('"gamma": true', "/gamma"),
        ('"grid": ["8", 12]', "/grid/0"),
        ('"priority": "4"', "/priority"),
        ('"ttl_s": "60"', "/ttl_s"),
        ('"deadline_s": "60"', "/deadline_s"),
        ('"observe": {"every": "2"}', "/observe/every"),
        ('"record": [{"field": "phase", "every": "2"}]', "/record/0/every"),
        ('"initial": {"kind": "complex_noise", "strength": "0.1"}', "/initial/strength"),
        (f'"initial": {{"kind": "state", "job": "{ID}", "step": "3"}}', "/initial/step"),
    ],
)
def test_numbers_are_taken_only_as_what_they_are(api: Api, text: str, pointer: str) -> None:
    key = text.partition(":")[0].strip('"')
    rest = json.dumps({k: v for k, v in SPEC.items() if k != key})
    answer = api.http.post("/v1/jobs", data=f"{rest[:-1]}, {text}}}", content_type="application/json")
    refused(answer, 422, pointer=pointer)


def test_no_model_of_a_body_reads_text_as_a_number(api: Api) -> None:
    """The kind of the test above, for every number of every body."""
    for model in (JobSpec, SweepSpec, FidelityRequest, LinkRequest, SeedRange, Recording, Observe, FromJob):
        for name, field in model.model_fields.items():
            kinds = {field.annotation, *get_args(field.annotation)}
            if kinds & {int, float}:
                with pytest.raises(ValidationError) as refusal:
                    model.model_validate({name: "1"})
                errors = [e["msg"] for e in refusal.value.errors() if e["loc"] == (name,)]
                assert errors == ["Value error, a number is needed, not text"], (model, name)


def test_a_number_beyond_float64_is_refused(api: Api) -> None:
    for text in ("1e400", "-1e999"):
        data = json.dumps({"base": SPEC, "axes": {"gamma": ["here"]}}).replace('"here"', text)
        refused(api.http.post("/v1/sweeps", data=data, content_type="application/json"), 400, text, "float64")
    data = json.dumps(SPEC)[:-1] + f', "gamma": {10**400}}}'
    refused(api.http.post("/v1/jobs", data=data, content_type="application/json"), 422, pointer="/gamma")


def test_whole_numbers_are_exact(api: Api) -> None:
    for seed in (2**53 + 1, 2**63 - 1):
        job = api.submit(seed=seed)
        assert f'"seed": {seed},' in api.http.get(f"/v1/jobs/{job}").text
        sweep = api.http.post("/v1/sweeps", json={"base": SPEC, "axes": {"seed": [seed]}}).json["id"]
        assert api.http.get(f"/v1/sweeps/{sweep}/table").json["items"][0]["point"] == {"seed": seed}
        assert f",{seed},"[:-1] in api.http.get(f"/v1/sweeps/{sweep}/table?format=csv").text
    data = json.dumps(SPEC | {"seed": 0}).replace('"seed": 0', '"seed": 1e3')
    answer = api.http.post("/v1/jobs", data=data, content_type="application/json")
    assert answer.json["spec"]["seed"] == 1000


@pytest.mark.parametrize("query", ["limit=1_0", "limit=%2010", "limit=٣", "limit=1e1000", "limit=x"])
def test_numbers_of_a_query_are_written_in_digits(api: Api, query: str) -> None:
    refused(api.http.get(f"/v1/jobs?{query}"), 422, "limit", pointer="/limit")
    refused(api.http.get(f"/v1/jobs/{ID}?{query.replace('limit', 'wait')}"), 422, "wait", pointer="/wait")


@pytest.mark.parametrize("chunked", [False, True])
def test_the_pointer_of_a_refusal_does_not_depend_on_framing(api: Api, chunked: bool) -> None:
    framing = {"Transfer-Encoding": "chunked"} if chunked else {}
    for path, body, pointer in (
        ("/v1/jobs", SPEC | {"initial": {"kind": "complex_noise", "strength": 99}}, "/initial/strength"),
        ("/v1/sweeps", {"base": SPEC, "axes": {"seed": {"start": 0, "count": 0}}}, "/axes/seed/count"),
    ):
        data = io.BytesIO(json.dumps(body).encode())
        environ = {"wsgi.input_terminated": True} if chunked else {}
        length = {} if chunked else {"Content-Length": str(len(data.getvalue()))}
        answer = api.http.post(
            path,
            input_stream=data,
            content_type="application/json",
            headers=framing | length,
            environ_overrides=environ,
        )
        refused(answer, 422, pointer=pointer)
