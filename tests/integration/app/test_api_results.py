"""Frames, pictures, numbers and the Zarr hierarchy over HTTP hold exactly what was recorded."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from leym.contract.catalog import DEFAULT_OBSERVABLES, OBSERVABLES
from leym.contract.spec import LIMITS
from leym.frames import pictures
from leym.frames.layout import job_prefix
from tests.support.api import SPEC, Api, Pretender, done, number, opened, value
from tests.support.pictures import durations

FIELDS = {
    "phase": ((8, 12), "float32", 3),
    "channel_power": ((8, 12, 4), "float16", 5),
    "psi": ((8, 12, 4), "complex64", 10),
}


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with opened(tmp_path_factory.mktemp("api")) as found:
        yield found


@pytest.fixture(scope="module")
def job(api: Api) -> str:
    return done(api)


def expected(field: str, steps: range) -> np.ndarray:
    shape, dtype, _ = FIELDS[field]
    return np.array([value(field, step, shape, dtype) for step in steps], dtype).reshape(len(steps), *shape)


def about(npz: Any) -> dict[str, Any]:
    """What an npz file says of itself."""
    return dict(json.loads(npz["attributes"].item()))


SELECTIONS: list[tuple[str, slice]] = [
    ("", slice(None)),
    ("start=10", slice(10, None)),
    ("start=6&stop=20", slice(6, 20)),
    ("stop=0", slice(0, 0)),
    ("stride=2", slice(None)),
    ("last=2", slice(None)),
]


def steps_of(field: str, query: str, chosen: slice) -> range:
    every = FIELDS[field][2]
    first = -(-(chosen.start or 0) // every) * every
    steps = range(first, 31 if chosen.stop is None else chosen.stop, every)
    return steps[::2] if "stride" in query else steps[-2:] if "last" in query else steps


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize(("query", "chosen"), SELECTIONS)
def test_arrays_are_what_was_recorded(api: Api, job: str, field: str, query: str, chosen: slice) -> None:
    steps = steps_of(field, query, chosen)
    frames = expected(field, steps)
    answer = api.http.get(f"/v1/jobs/{job}/frames/{field}?format=npz&{query}")
    assert answer.status_code == 200, answer.text
    found = np.load(io.BytesIO(answer.data))
    assert sorted(found.files) == sorted([field, "step", "attributes"])
    assert about(found)["steps"]["start"] == (steps[0] if steps else 0)
    assert about(found)["field"] == field
    assert found["step"].dtype == np.int64
    assert found["step"].tolist() == list(steps)
    assert found[field].dtype == frames.dtype
    assert np.array_equal(found[field], frames)
    answer = api.http.get(f"/v1/jobs/{job}/frames/{field}?format=npy&{query}")
    alone = np.load(io.BytesIO(answer.data))
    assert alone.dtype == frames.dtype
    assert np.array_equal(alone, frames)
    assert answer.headers["X-Frames"] == str(len(steps))
    if steps:
        assert list(range(*map(int, answer.headers["X-Steps"].split(":")))) == list(steps)
    assert f'filename="{job}-{field}.npy"' in answer.headers["Content-Disposition"]


def picture(api: Api, job: str, query: str) -> Image.Image:
    answer = api.http.get(f"/v1/jobs/{job}/frames/{query}")
    assert answer.status_code == 200, answer.text
    image = Image.open(io.BytesIO(answer.data))
    assert answer.mimetype == f"image/{str(image.format).lower()}"
    return image


@pytest.mark.parametrize("query", ["phase?", "channel_power?channel=1&", "channel_power?", "psi?"])
def test_pictures_show_the_frames(api: Api, job: str, query: str) -> None:
    field = query.split("?")[0]
    channel = 1 if "channel=" in query else None
    rgb = pictures.render(field, expected(field, range(30, 31)), channel)
    one = picture(api, job, f"{query}format=png&last=1&scale=3")
    assert np.array_equal(np.asarray(one.convert("RGB")), rgb[0].repeat(3, 0).repeat(3, 1))
    every = FIELDS[field][2]
    rgb = pictures.render(field, expected(field, range(0, 31, every)), channel)
    webp: Any = picture(api, job, f"{query}format=webp&scale=1")
    assert webp.n_frames == len(rgb)
    for i, frame in enumerate(rgb):
        webp.seek(i)
        assert np.array_equal(np.asarray(webp.convert("RGB")), frame)
    gif: Any = picture(api, job, f"{query}format=gif&fps=10")
    assert gif.n_frames == len(rgb)
    assert gif.info["duration"] == 100
    assert gif.size[0] > 200
    assert picture(api, job, f"{query}format=png&scale=1").size[0] > one.size[0]


def test_observables_in_every_format(api: Api, job: str) -> None:
    steps = list(range(0, 31, 2))
    numbers = {name: [number(name, step) for step in steps] for name in ("coherence", "activity")}
    at = f"/v1/jobs/{job}/observables"
    assert api.http.get(at).json == {"step": steps, **numbers}
    assert api.http.get(f"{at}?names=activity&start=4&stop=9").json == {
        "step": [4, 6, 8],
        "activity": [number("activity", step) for step in (4, 6, 8)],
    }
    found = np.load(io.BytesIO(api.http.get(f"{at}?format=npz").data))
    assert {name: found[name].tolist() for name in found.files if name != "attributes"} == {"step": steps, **numbers}
    assert about(found)["job"] == job
    assert about(found)["steps"] == {"start": 0, "stop": 32, "stride": 2}
    answer = api.http.get(f"{at}?format=csv")
    assert answer.mimetype == "text/csv"
    lines = list(csv.DictReader(io.StringIO(answer.text)))
    assert [float(line["coherence"]) for line in lines] == numbers["coherence"]
    assert api.http.get(f"{at}?names=mood").status_code == 404


def test_every_file_says_where_it_comes_from_and_holds_what_its_headers_say(api: Api, job: str) -> None:
    record = api.http.get(f"/v1/jobs/{job}").json
    at = f"/v1/jobs/{job}/frames/phase?start=6&stop=25"  # steps 6, 9, ... 24: seven frames
    for query, read in (
        ("npz", lambda file: about(np.load(file))),
        ("png", lambda file: json.loads(Image.open(file).info["leym"])),
        ("gif&fps=30", lambda file: json.loads(Image.open(file).info["comment"])),
        ("webp&fps=60", lambda file: json.loads(Image.open(file).getexif()[0x010E])),
    ):
        answer = api.http.get(f"{at}&format={query}")
        found = read(io.BytesIO(answer.data))
        assert {key: found[key] for key in ("job", "law", "spec")} == {
            "job": job, "law": record["law"], "spec": record["spec"]
        }  # fmt: skip
        assert (found["field"], found["units"], found["channel"]) == ("phase", "rad", None)
        assert found["steps"] == {"start": 6, "stop": 27, "stride": 3}
        assert (answer.headers["X-Frames"], answer.headers["X-Steps"]) == ("7", "6:27:3")
        if query.startswith(("gif", "webp")):
            frames = durations(answer.data)
            assert len(frames) == 7
            assert str(sum(frames)) == answer.headers["X-Duration-Ms"]
        else:
            assert "X-Duration-Ms" not in answer.headers
    refusal = api.http.get(f"{at}&format=gif&fps=60")
    assert refusal.status_code == 422
    assert refusal.json["errors"][0]["pointer"] == "/fps"
    assert "fps = 60" in refusal.json["detail"]
    assert "at most 50" in refusal.json["detail"]


def test_an_observable_has_one_name_in_every_format(api: Api) -> None:
    """Also where the job records the field that it is the mean of."""
    fields = [{"field": "activity", "every": 3}, {"field": "coherence", "every": 3}]
    job = done(api, record=fields, observe={"every": 2, "names": ["coherence", "activity"]})
    at, names = f"/v1/jobs/{job}", ["coherence", "activity"]
    assert list(api.http.get(f"{at}/observables").json) == ["step", *names]
    assert api.http.get(f"{at}/observables?format=csv").text.partition("\n")[0] == "step,coherence,activity"
    assert {"step", *names} <= set(np.load(io.BytesIO(api.http.get(f"{at}/observables?format=npz").data)).files)
    assert set(api.http.get(at).json["observables"]) == set(names)
    assert set(json.loads(next(e for e in api.events(job) if e.name == "frame").data)["observables"]) == set(names)
    nodes = api.http.get(f"{at}/store.zarr/zarr.json").json["consolidated_metadata"]["metadata"]
    below = {path.removeprefix("observables/") for path in nodes if path.startswith("observables/")}
    assert below == {"step_2", *names}
    assert {path for path in nodes if "/" not in path} == {"step_2", "step_3", "observables", *names}
    assert all(nodes[name]["dimension_names"] == ["step_3", "y", "x"] for name in names), "at the root, the fields"


def test_a_job_that_observes_and_records_nothing(api: Api) -> None:
    job = done(api, record=[], observe=None)
    assert api.http.get(f"/v1/jobs/{job}/observables").json == {"step": []}
    assert api.http.get(f"/v1/jobs/{job}/frames").json == {"items": [], "views": []}


def test_what_cannot_be_had_is_refused(api: Api, job: str, monkeypatch: pytest.MonkeyPatch) -> None:
    at = f"/v1/jobs/{job}/frames"
    for query, status, named in [
        ("density", 404, "density"),
        ("observables", 404, "observables"),
        ("phase?format=tiff", 422, "tiff"),
        ("phase?start=-1", 422, "start"),
        ("phase?stride=0", 422, "stride"),
        ("phase?format=png&channel=0", 422, "channel"),
        ("channel_power?format=png&channel=9", 422, "channel = 9"),
        ("phase?format=gif&fps=1000", 422, "fps"),
        ("phase?format=png&stop=0", 404, "no committed frames"),
        ("phase?format=png&scale=64&stride=1", 200, ""),
        ("phase?fields=all", 422, "fields"),
    ]:
        answer = api.http.get(f"{at}/{query}")
        assert answer.status_code == status, answer.text
        assert status == 200 or named in answer.json["detail"], answer.text
    monkeypatch.setattr(LIMITS, "answer_bytes", 11 * 8 * 12 * 4 - 1)
    monkeypatch.setattr(LIMITS, "answer_pixels", 11 * 8 * 12 * 4 - 1)
    for query, bound in [("format=npz", LIMITS.answer_bytes), ("format=png&scale=2", LIMITS.answer_pixels)]:
        answer = api.http.get(f"{at}/phase?{query}")
        assert answer.status_code == 422
        assert str(bound) in answer.json["detail"]
    assert picture(api, job, "phase?format=png&last=3").size[1] == 8 * 3  # the largest scale that fits


def test_fields_while_the_job_grows(api: Api) -> None:
    job = api.submit()
    assert [f["committed"] for f in api.http.get(f"/v1/jobs/{job}/frames").json["items"]] == [0, 0, 0]
    assert np.load(io.BytesIO(api.http.get(f"/v1/jobs/{job}/frames/phase?format=npy").data)).shape == (0, 8, 12)
    worker = Pretender(api, job)
    for until in (0, 7, 13, 22, 30):
        worker.run(until)
        worker.commit()
        for item in api.http.get(f"/v1/jobs/{job}/frames").json["items"]:
            shape, dtype, every = FIELDS[item["name"]]
            steps = list(range(0, until + 1, every))
            assert (item["shape"], item["dtype"]) == ([len(steps), *shape], dtype)
            assert list(range(*item["steps"].values())) == steps
            assert item["units"]
            answer = api.http.get(f"/v1/jobs/{job}/frames/{item['name']}?last=1")
            assert np.load(io.BytesIO(answer.data))["step"].tolist() == steps[-1:]


def test_the_store_is_served_with_etags_and_ranges(api: Api, job: str) -> None:
    at = f"/v1/jobs/{job}/store.zarr"
    group = api.http.get(f"{at}/zarr.json")
    assert group.status_code == 200
    assert json.loads(group.data)["attributes"]["job"] == job
    assert api.http.get(f"{at}/zarr.json", headers={"If-None-Match": group.headers["ETag"]}).status_code == 304
    whole = api.http.get(f"{at}/phase/c/0/0/0")
    head = api.http.head(f"{at}/phase/c/0/0/0")
    assert head.data == b""
    assert head.headers["Content-Length"] == str(len(whole.data))
    part = api.http.get(f"{at}/phase/c/0/0/0", headers={"Range": "bytes=5-14"})
    assert part.status_code == 206
    assert part.data == whole.data[5:15]
    assert api.http.get(f"{at}/phase/c/0/0/0", headers={"Range": "bytes=99999999-"}).status_code == 416
    assert api.http.get(f"{at}/phase/c/7/0/0").status_code == 404


@pytest.mark.parametrize(
    "key",
    [
        "../../jobs.sqlite",
        "phase/../../../../jobs.sqlite",
        "%2e%2e/%2e%2e/jobs.sqlite",
        "..%2f..%2fjobs.sqlite",
        "..\\..\\jobs.sqlite",
        "/etc/passwd",
        "%2fetc/passwd",
        "phase/c/0/0/0/../1",
        "phase/000000.1",
        "zarr.json%00",
        "x" * 600,
    ],
)
def test_a_key_that_climbs_out_of_the_job_is_refused(api: Api, job: str, key: str) -> None:
    before = api.table.totals()
    answer = api.http.get(f"/v1/jobs/{job}/store.zarr/{key}")
    assert answer.status_code in (400, 404, 422), answer.text
    assert answer.content_type == "application/problem+json"
    assert answer.json["detail"]
    assert api.table.totals() == before


def test_a_lost_object_is_an_outage_and_not_an_empty_chunk(tmp_path: Path) -> None:
    with opened(tmp_path) as api:
        job = done(api)
        api.store.delete(list(api.store.list(f"{job_prefix(job)}phase/")))
        for path in ("frames/phase", "frames/phase?format=png", "store.zarr/phase/c/0/0/0"):
            answer = api.http.get(f"/v1/jobs/{job}/{path}")
            assert answer.status_code == 503, answer.text
            assert answer.headers["Retry-After"], answer.text


def test_a_job_that_asks_for_the_old_name_of_an_observable_gets_it_under_that_name(api: Api) -> None:
    job = done(api, observe={"every": 2, "names": ["fidelity", "activity"]})
    at, names = f"/v1/jobs/{job}", ["fidelity", "activity"]
    assert api.http.get(at).json["spec"]["observe"]["names"] == names
    assert list(api.http.get(f"{at}/observables").json) == ["step", *names]
    assert set(api.http.get(at).json["observables"]) == set(names)
    nodes = api.http.get(f"{at}/store.zarr/zarr.json").json["consolidated_metadata"]["metadata"]
    assert nodes["observables/fidelity"]["attributes"]["formula"] == OBSERVABLES["overlap"].formula
    default = api.http.get(f"/v1/jobs/{api.submit(observe={'every': 2})}").json["spec"]["observe"]["names"]
    assert default == list(DEFAULT_OBSERVABLES)


def test_a_retry_matches_a_request_that_was_accepted_under_the_old_name(api: Api) -> None:
    names = [*DEFAULT_OBSERVABLES, "fidelity"]
    names.remove("overlap")  # the default of version 0.1.0
    key = {"Idempotency-Key": "across an upgrade"}
    [old, new] = (
        api.http.post("/v1/jobs", json=SPEC | {"observe": observe}, headers=key)
        for observe in ({"every": 2, "names": names}, {"every": 2})
    )
    assert old.status_code == new.status_code == 202
    assert old.json["id"] == new.json["id"]
