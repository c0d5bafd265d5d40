"""Members that are added to a sweep over HTTP: accepted whole, behind the others, and part of everything it answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray
from sqlalchemy import update

from leym.contract.ids import id_after
from leym.contract.limits import LIMITS
from leym.jobs.quotas import Quotas
from leym.jobs.schema import sweeps
from leym.jobs.table import JobTable
from tests.support.api import Api, reachable, refused, run_blocks
from tests.support.job_tables import rows_of
from tests.support.parallel import at_once

BASE: dict[str, Any] = {"law": "aurora", "grid": [8, 8], "steps": 30, "observe": {"every": 10, "names": ["coherence"]}}
AXES: dict[str, Any] = {"gamma": [0, 0.5], "seed": {"start": 0, "count": 2}}
MORE: dict[str, Any] = {"axes": {"seed": [0, 2], "gamma": [0.25]}}
POINTS = [(0, 0), (0, 1), (0.5, 0), (0.5, 1), (0.25, 0), (0.25, 2)]


def submitted(api: Api, axes: dict[str, Any] = AXES, base: dict[str, Any] = BASE, **more: Any) -> str:
    answer = api.http.post("/v1/sweeps", json={"base": base, "axes": axes} | more)
    assert answer.status_code == 202, answer.text
    return f"/v1/sweeps/{answer.json['id']}"


def add(api: Api, sweep: str, more: dict[str, Any] = MORE, query: str = "", **headers: str) -> Any:
    return api.http.post(f"{sweep}/members{query}", json=more, headers=headers)


def added(api: Api, sweep: str, more: dict[str, Any] = MORE, **headers: str) -> dict[str, Any]:
    answer = add(api, sweep, more, **headers)
    assert answer.status_code == 202, answer.text
    found: dict[str, Any] = answer.json
    return found


def rows(api: Api, sweep: str, **query: Any) -> list[dict[str, Any]]:
    answer = api.http.get(f"{sweep}/table", query_string=query | {"format": "jsonl"})
    return [json.loads(line) for line in answer.text.splitlines()]


@pytest.mark.parametrize("when", ["queued", "ended"])
def test_added_members_follow_the_others_everywhere(api: Api, when: str) -> None:
    sweep = submitted(api)
    if when == "ended":
        run_blocks(api, sweep[-26:])
    before = [api.http.get(f"{sweep}/members/{index}").json for index in range(4)]
    answer = added(api, sweep)
    assert (answer["size"], answer["members"]) == (6, {"first": 4, "size": 2})
    assert answer["added"] == [{"first": 4, "size": 2, "axes": MORE["axes"], "mode": "product"}]
    assert answer["counts"]["queued"] == (2 if when == "ended" else 6)
    assert answer["state"] == "running"
    assert answer["progress"]["cell_steps"] == 6 * 64 * 30
    refused(api.http.get(f"{sweep}/members/6"), 404, "the members 0 to 5")

    run_blocks(api, sweep[-26:])
    members = [api.http.get(f"{sweep}/members/{index}").json for index in range(6)]
    assert [(m["point"]["gamma"], m["point"]["seed"]) for m in members] == POINTS
    assert [(m["spec"]["gamma"], m["spec"]["seed"]) for m in members] == POINTS
    assert [m["id"] for m in members] == [id_after(sweep[-26:], 1 + index) for index in range(6)]
    if when == "ended":
        assert members[:4] == before
    for index, member in enumerate(members):
        coherence = index / 8 + (20 if member["point"]["seed"] == 1 else 30)
        assert member["observables"] == {"coherence": coherence}
        assert api.http.get(f"/v1/jobs/{member['id']}").json | {"reason": None} == member
    assert [job["id"] for job in api.http.get(f"{sweep}/jobs").json["items"]] == [m["id"] for m in members]
    assert [job["id"] for job in api.http.get(f"/v1/jobs?sweep={sweep[-26:]}").json["items"]] == [
        m["id"] for m in members[::-1]
    ]
    assert [(row["index"], row["gamma"], row["seed"]) for row in rows(api, sweep)] == [
        (index, *point) for index, point in enumerate(POINTS)
    ]
    [one] = rows(api, sweep, filter=["seed=2"])
    assert (one["index"], one["coherence"]) == (5, 5 / 8 + 30)
    means = rows(api, sweep, aggregate="count", value="coherence")
    assert [(row["gamma"], row["members"]) for row in means] == [(0, 2), (0.5, 2), (0.25, 2)]
    assert api.http.get(f"{sweep}/summary").json["observables"]["coherence"]["members"] == 6
    again = api.http.post(f"{sweep}/retry").json
    assert again["counts"]["queued"] == 2  # those of seed 1 have failed
    assert added(api, sweep)["members"] == {"first": 6, "size": 2}


def test_the_array_grows(tmp_path: Path) -> None:
    with reachable(tmp_path) as api:
        sweep = submitted(api)
        run_blocks(api, sweep[-26:])
        url = f"{api.url}{sweep}/store.zarr"
        with xarray.open_zarr(url, chunks=None) as old, xarray.open_zarr(url, chunks=None) as unread:
            assert old["coherence"].dims == ("gamma", "seed", "step")
            expected = old["coherence"].values.reshape(4, 4)
            added(api, sweep)
            with pytest.raises(Exception, match=r"409|Conflict"):  # and not NaN
                unread["coherence"].values  # noqa: B018
        with xarray.open_zarr(url, chunks=None) as new:
            assert new["coherence"].dims == ("member", "step")
            assert dict(new.sizes) == {"member": 6, "step": 4}
            np.testing.assert_array_equal(new["coherence"].values[:4], expected)
            assert np.isnan(new["coherence"].values[4:]).all()
            assert list(zip(new["gamma"].values, new["seed"].values, strict=True)) == POINTS
            assert new["gamma"].dims == ("member",)
        run_blocks(api, sweep[-26:])
        with xarray.open_zarr(url, chunks=None) as new:
            np.testing.assert_array_equal(new["coherence"].values[4:, -1], [4 / 8 + 30, 5 / 8 + 30])
            assert (new["steps_done"].values == [30, 20, 30, 20, 30, 30]).all()
            [at] = np.flatnonzero((new["gamma"].values == 0.25) & (new["seed"].values == 2))
            assert at == 5
        answer = api.http.get(f"{sweep}/store.zarr/coherence/c/0/0")
        assert "immutable" not in answer.headers["Cache-Control"]


def test_members_of_another_shape_are_another_group(api: Api) -> None:
    sweep = submitted(api, {"steps": [30, 60], "seed": [1]})
    added(api, sweep, {"axes": {"steps": [90, 30], "seed": [2]}})
    root = api.http.get(f"{sweep}/store.zarr/zarr.json").json
    shapes = json.loads(root["attributes"]["shapes"])
    assert [(shape["group"], shape["members"], shape["steps"]) for shape in shapes] == [
        ("shape_0", 2, 30),
        ("shape_1", 1, 60),
        ("shape_2", 1, 90),
    ]


def test_a_repeated_request_adds_nothing(api: Api) -> None:
    sweep, key = submitted(api), {"Idempotency-Key": "k"}
    assert added(api, sweep, **key)["members"] == {"first": 4, "size": 2}
    assert added(api, sweep)["members"] == {"first": 6, "size": 2}
    again = added(api, sweep, **key)
    assert (again["size"], again["members"]) == (8, {"first": 4, "size": 2})
    refused(add(api, sweep, {"axes": AXES}, **key), 422, "'k' was used before")
    refused(add(api, submitted(api), **key), 422, "'k' was used before")
    api.http.post(f"{sweep}/cancel")
    assert added(api, sweep, **key)["members"] == {"first": 4, "size": 2}  # what was accepted stays accepted


def test_requests_at_the_same_moment_get_members_of_their_own(api: Api) -> None:
    sweep = submitted(api)
    more = {"axes": {"gamma": [0.75], "seed": {"start": 0, "count": 10}}}
    found = at_once(*[lambda: api.app.test_client().post(f"{sweep}/members", json=more).json["members"]] * 4)
    assert sorted(part["first"] for part in found) == [4, 14, 24, 34]
    assert len(rows(api, sweep)) == 44


def test_another_process_hears_of_them(api: Api) -> None:
    sweep = submitted(api)
    other = JobTable(api.services.settings.database)
    assert other.sweep_plan(sweep[-26:]).size == 4
    added(api, sweep)
    assert other.sweep_plan(sweep[-26:]).size == 6
    assert other.member(sweep[-26:], 5).spec["seed"] == 2
    other.close()


def test_a_dry_run_adds_nothing(api: Api) -> None:
    sweep = submitted(api)
    answer = add(api, sweep, query="?dry_run=true")
    assert answer.status_code == 200
    assert (answer.json["size"], answer.json["cell_steps"], answer.json["blocks"]) == (2, 2 * 64 * 30, 1)
    refused(add(api, sweep, {"axes": {"seed": [1], "gamma": [11]}}, "?dry_run=true"), 422, pointer="/axes/gamma")
    assert api.http.get(sweep).json["size"] == 4
    api.http.post(f"{sweep}/cancel")
    refused(add(api, sweep, query="?dry_run=true"), 409, "was cancelled")


@pytest.mark.parametrize(
    ("more", "pointer", "says"),
    [
        ({"axes": {"seed": [1]}}, "/axes", "has the keys 'seed'; those of the sweep are 'gamma', 'seed'"),
        ({"axes": AXES | {"steps": [30]}}, "/axes", "those of the sweep are 'gamma', 'seed'"),
        ({"axes": AXES | {"gamma": [0, 11]}}, "/axes/gamma", "member 2: gamma = 11"),
        ({"axes": AXES, "mode": "zip", "base": BASE}, "/base", ""),
        ({"axes": AXES | {"seed": {"start": 0, "count": 10**6}, "gamma": [0]}}, "/axes", "1000000 more would exceed"),
        ({"axes": {"gamma": [0]}, "mode": "sobol"}, "/mode", ""),
    ],
)
def test_a_refusal_names_the_key(api: Api, more: dict[str, Any], pointer: str, says: str) -> None:
    sweep = submitted(api)
    refused(add(api, sweep, more), 422, *([says] if says else []), pointer=pointer)
    assert api.http.get(sweep).json["size"] == 4


def test_sweeps_that_can_have_no_more_members(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    refused(add(api, f"/v1/sweeps/{'0' * 26}"), 404)
    sweep = submitted(api)
    monkeypatch.setattr(LIMITS, "sweep_shapes", 1)
    refused(add(api, sweep), 422, "the sweep has 1 shapes; 1 more would exceed the limit of 1", pointer="/axes")
    monkeypatch.undo()
    phases = submitted(api, base=BASE | {"record": [{"field": "phase", "every": 10}]})
    of_one = 4 * 64 * 4
    monkeypatch.setattr(LIMITS, "sweep_bytes", 5 * of_one)
    refused(add(api, phases), 422, f"the recordings of 6 jobs take {6 * of_one} bytes; the limit is {5 * of_one}")
    assert added(api, phases, {"axes": {"gamma": [0], "seed": [7]}})["size"] == 5
    monkeypatch.undo()
    api.table.quotas = Quotas(live_jobs=10)
    refused(add(api, sweep), 429, "9 jobs of project 'default' are queued or running; 2 more would exceed its quota")
    api.table.quotas = Quotas()
    with api.table.db.write() as connection:  # as a version wrote it that reserved ids for the first members only
        connection.execute(update(sweeps).where(sweeps.c.id == phases[-26:]).values(reserved=0))
    refused(add(api, phases), 409, "reserved ids for its own 5 members only; submit the others as another sweep")
    old, _ = rows_of(api.table)
    refused(add(api, f"/v1/sweeps/{old.id}", {"axes": {"seed": [9]}}), 409, "reserved ids for its own 5 members only")
    api.http.post(f"{sweep}/cancel")
    refused(add(api, sweep), 409, "was cancelled")
    gone = submitted(api)
    run_blocks(api, gone[-26:])
    assert api.http.delete(gone).status_code == 204
    refused(add(api, gone), 409, "were deleted")


def test_members_of_a_paused_sweep_wait(api: Api) -> None:
    sweep = submitted(api)
    api.http.post(f"{sweep}/pause")
    answer = added(api, sweep)
    assert (answer["state"], answer["counts"]["paused"], answer["counts"]["queued"]) == ("paused", 6, 0)
    assert api.http.post(f"{sweep}/resume").json["counts"]["queued"] == 6


def test_a_new_priority_is_in_the_specs_of_members(api: Api) -> None:
    sweep = submitted(api)
    api.http.patch(sweep, json={"priority": 8})
    added(api, sweep)
    members = [api.http.get(f"{sweep}/members/{index}").json for index in range(6)]
    assert [(m["priority"], m["spec"]["priority"]) for m in members] == [(8, 8)] * 4 + [(4, 4)] * 2
