"""The atlas of a sweep over HTTP: one frame of each member, as an array and as a picture."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from leym.contract.member_states import MemberState, MemberStates
from leym.contract.ranges import unpack_ranges
from leym.contract.records import JobState
from leym.frames.layout import arrays_of
from leym.frames.stores.base import Missing
from leym.frames.sweep_reader import SweepReader
from leym.frames.writer import FrameWriter
from tests.support.api import Api, refused

BASE = {"law": "aurora", "grid": [8, 12], "steps": 20, "record": [{"field": "phase", "every": 10}]}


def shade(index: int, step: int) -> np.ndarray:
    y, x = np.mgrid[:8, :12]
    return (index / 10 + step / 100 + y / 64 + x / 512).astype(np.float32)


def run(api: Api, sweep: str) -> None:
    """Members with an odd index end at step 10, by failure."""
    for row in api.table.blocks(sweep):
        claim = api.table.claim(row.id, "pretender", 60, 9)
        assert claim is not None
        indices = unpack_ranges(row.indices or "")
        states = MemberStates.new(len(indices))
        writer = FrameWriter(
            api.store, row.id, claim.epoch, arrays_of(claim.job), {}, {}, members=len(indices), shown=states.step
        )
        odd = indices % 2 == 1
        for step in (0, 10, 20):
            places = np.flatnonzero(~odd) if step > 10 else np.arange(len(indices))
            writer.append(step, places, {"phase": np.stack([shade(int(i), step) for i in indices[places]])}, {})
        states.step[:] = np.where(odd, 10, 20)
        states.end(np.flatnonzero(odd), MemberState.FAILED, problem={"title": "Diverged", "status": 422, "detail": "x"})
        states.end(np.flatnonzero(~odd), MemberState.SUCCEEDED)
        ended = {"step": int(states.step.sum()), "manifest": writer.flush(), "members": states}
        api.table.finish(row.id, claim.epoch, JobState.SUCCEEDED, **ended)


@pytest.fixture
def sweep(api: Api) -> str:
    axes = {"gamma": [0, 0.5], "seed": {"start": 7, "count": 3}}
    answer = api.http.post("/v1/sweeps", json={"base": BASE, "axes": axes})
    assert answer.status_code == 202, answer.text
    run(api, answer.json["id"])
    return f"/v1/sweeps/{answer.json['id']}"


def atlas(api: Api, sweep: str, **query: Any) -> np.ndarray:
    answer = api.http.get(f"{sweep}/atlas", query_string={"field": "phase", "format": "npy"} | query)
    assert answer.status_code == 200, answer.text
    found: np.ndarray = np.load(io.BytesIO(answer.data))
    assert answer.headers["X-Members"] == str(len(found))
    return found


def test_each_tile_is_the_newest_frame_of_its_member(api: Api, sweep: str) -> None:
    expected = np.stack([shade(index, 10 if index % 2 else 20) for index in range(6)])
    np.testing.assert_array_equal(atlas(api, sweep), expected.astype(np.float16))


def test_a_step_some_members_and_fewer_cells_are_chosen(api: Api, sweep: str) -> None:
    found = atlas(api, sweep, step=19, members="4,0-2", side=4)
    expected = np.stack([shade(index, 10)[::3, ::3] for index in (0, 1, 2, 4)])
    np.testing.assert_array_equal(found, expected.astype(np.float16))


def test_the_picture_has_a_tile_per_member(api: Api, sweep: str) -> None:
    answer = api.http.get(f"{sweep}/atlas?field=phase&scale=1")
    assert answer.content_type == "image/png"
    columns = int(answer.headers["X-Columns"])
    assert Image.open(io.BytesIO(answer.data)).width == columns * 14 - 2


def test_before_the_first_frame_tiles_are_nan(api: Api) -> None:
    answer = api.http.post("/v1/sweeps", json={"base": BASE, "axes": {"seed": [1, 2]}})
    found = api.http.get(f"/v1/sweeps/{answer.json['id']}/atlas?field=phase&format=npy")
    assert np.isnan(np.load(io.BytesIO(found.data))).all()
    assert found.headers["X-Step"] == ""
    assert found.headers["Cache-Control"] == "no-store"


def test_refusals_name_the_members_and_the_field(api: Api, sweep: str) -> None:
    refused(api.http.get(f"{sweep}/atlas?field=activity"), 404, "recorded: phase")
    refused(api.http.get(f"{sweep}/atlas?field=phase&members=4-6"), 422, "0 to 5", pointer="/members")
    refused(api.http.get(f"{sweep}/atlas?field=phase&members=3-1"), 422, "'3-1'")
    refused(api.http.get(f"{sweep}/atlas?field=phase&members=a"), 422)
    both = {"base": BASE, "axes": {"grid": [[8, 8], [16, 16]]}}
    mixed = api.http.post("/v1/sweeps", json=both).json["id"]
    refused(api.http.get(f"/v1/sweeps/{mixed}/atlas?field=phase"), 422, "one grid", pointer="/members")
    refused(api.http.get("/v1/sweeps/01ja0000000000000000000000/atlas?field=phase"), 404)


@pytest.mark.parametrize(("times", "status"), [(1, 200), (2, 200), (3, 503)])
def test_objects_that_a_commit_has_replaced_are_read_again(
    api: Api, sweep: str, monkeypatch: pytest.MonkeyPatch, times: int, status: int
) -> None:
    whole, expected, left = SweepReader.field, atlas(api, sweep), [times]

    def replaced(self: SweepReader, *arguments: Any) -> np.ndarray:
        if left[0]:
            left[0] -= 1
            raise Missing("a shard that the row named")
        return whole(self, *arguments)

    monkeypatch.setattr(SweepReader, "field", replaced)
    answer = api.http.get(f"{sweep}/atlas", query_string={"field": "phase", "format": "npy"})
    assert answer.status_code == status
    if status == 200:
        assert np.array_equal(np.load(io.BytesIO(answer.data)), expected, equal_nan=True)
    else:
        assert "a shard that the row named" in answer.json["detail"]
