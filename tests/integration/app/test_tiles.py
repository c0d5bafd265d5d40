"""Tiles: small frames of many jobs in one answer."""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.api import Api, Pretender, done, opened, refused


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with opened(tmp_path / "data") as found:
        yield found


def tiles(api: Api, *jobs: str, **query: Any) -> list[tuple[dict[str, Any], np.ndarray]]:
    """The messages of an answer, read as the documents say."""
    answer = api.http.get("/v1/tiles", query_string={"jobs": ",".join(jobs), **query})
    assert answer.status_code == 200, answer.text
    found, at = [], 0
    while at < len(answer.data):
        (length,) = struct.unpack_from("<I", answer.data, at)
        header = json.loads(answer.data[at + 4 : at + 4 + length])
        at += 4 + length
        numbers = np.frombuffer(answer.data, {"u8": "u1", "f16": "<f2"}[header["dtype"]], np.prod(header["shape"]), at)
        found.append((header, numbers.reshape(header["shape"])))
        at += numbers.nbytes
    return found


def test_a_tile_has_frames_at_equal_distances_and_ends_with_the_newest(api: Api) -> None:
    job = done(api, record=[{"field": "phase", "every": 3}])
    found = tiles(api, job, frames=4)
    assert [header["step"] for header, _ in found] == [3, 12, 21, 30]
    low, high = found[0][0]["range"]
    frames = np.load(io.BytesIO(api.http.get(f"/v1/jobs/{job}/frames/phase?format=npy").data))
    for header, codes in found:
        wanted = frames[header["step"] // 3]
        assert codes.shape == wanted.shape
        error = np.abs(low + codes / 255 * (high - low) - np.clip(wanted, low, high)).max()
        assert error <= (high - low) / 255


def test_each_job_has_its_own_frames_and_those_without_any_have_none(api: Api) -> None:
    first, second = done(api, seed=1), api.submit(seed=2)
    third = api.submit(seed=3)
    worker = Pretender(api, third)
    worker.run(12)
    worker.commit()
    found = tiles(api, second, third, "0" * 26, first)
    assert sorted((header["job"], header["step"]) for header, _ in found) == sorted([(third, 12), (first, 30)])


def test_deleted_jobs_are_left_out(api: Api) -> None:
    job = done(api)
    assert api.http.delete(f"/v1/jobs/{job}").status_code == 204
    assert tiles(api, job) == []


def test_larger_grids_are_thinned_out(api: Api) -> None:
    job = done(api, grid=[8, 20])
    [(header, _)] = tiles(api, job, side=8)
    assert header["shape"] == [3, 7]


def test_complex_fields_are_not_shown(api: Api) -> None:
    job = done(api, record=[{"field": "psi", "every": 10}])
    assert tiles(api, job) == []
    job = done(api, record=[{"field": "psi", "every": 10}, {"field": "activity", "every": 10}])
    [(header, values)] = tiles(api, job)
    assert (header["field"], header["dtype"]) == ("activity", "f16")
    wanted = np.load(io.BytesIO(api.http.get(f"/v1/jobs/{job}/frames/activity?format=npy&last=1").data))[0]
    assert np.array_equal(values, wanted.astype(np.float16))


@pytest.mark.parametrize(("key", "value"), [("jobs", "x"), ("frames", 33), ("side", 4)])
def test_what_is_asked_for_has_bounds(api: Api, key: str, value: Any) -> None:
    query = {"jobs": "0" * 26, key: value}
    refused(api.http.get("/v1/tiles", query_string=query), 422, pointer=f"/{key}")
