"""Results of members over HTTP: frames, observables and the Zarr view of one, and the summary of all."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest

from leym.contract.ids import id_after
from leym.contract.member_states import MemberState, MemberStates
from leym.contract.records import Job, JobState
from leym.frames.layout import arrays_of
from leym.frames.writer import FrameWriter
from tests.support.api import Api, Pretender, refused
from tests.support.job_tables import rows_of

BASE: dict[str, Any] = {
    "law": "aurora",
    "grid": [8, 12],
    "steps": 20,
    "record": [{"field": "phase", "every": 10}],
    "observe": {"every": 5, "names": ["activity"]},
}
RECORDED = range(0, 21, 5)


def frame(index: int, step: int) -> np.ndarray:
    return np.full((8, 12), index + step / 100, np.float32)


def write(api: Api, row: Job, until: dict[int, int]) -> MemberStates:
    """Run a block: the member at each place reaches its step. All of it is committed, and the block goes on."""
    claim = api.table.claim(row.id, "w", 60, 9)
    assert claim is not None
    arrays, states = arrays_of(claim.job), MemberStates.new(row.members)
    writer = FrameWriter(api.store, row.id, claim.epoch, arrays, {}, {}, members=row.members, shown=states.step)
    for step in RECORDED:
        places = np.array([place for place, end in until.items() if step <= end])
        fields = {"phase": np.stack([frame(p, step) for p in places])} if step % 10 == 0 else {}
        writer.append(step, places, fields, {"activity": places * 100.0 + step})
    for place, end in until.items():
        states.step[place] = end
        if end == 20:
            states.end([place], MemberState.SUCCEEDED)
    api.table.commit(row.id, claim.epoch, step=0, manifest=writer.flush(), members=states)
    return states


@pytest.fixture
def sweep(api: Api) -> str:
    answer = api.http.post("/v1/sweeps", json={"base": BASE, "axes": {"seed": {"count": 4}}})
    return str(answer.json["id"])


def test_a_member_has_the_results_of_a_job(api: Api, sweep: str) -> None:
    (row,) = api.table.blocks(sweep)
    write(api, row, {0: 20, 1: 20, 2: 10})
    for index, frames in enumerate([3, 3, 2, 0]):
        for at in (f"/v1/sweeps/{sweep}/members/{index}", f"/v1/jobs/{id_after(sweep, 1 + index)}"):
            (field,) = api.http.get(f"{at}/frames").json["items"]
            assert field["committed"] == frames
            if not frames:
                continue
            answer = api.http.get(f"{at}/frames/phase?format=npy")
            expected = [frame(index, step) for step in (0, 10, 20)[:frames]]
            np.testing.assert_array_equal(np.load(io.BytesIO(answer.data)), expected)
            found = api.http.get(f"{at}/observables").json
            steps = [step for step in RECORDED if step <= (20, 20, 10)[index]]
            assert found == {"step": steps, "activity": [index * 100.0 + step for step in steps]}
            assert api.http.get(f"{at}/frames/phase?format=png").data.startswith(b"\x89PNG")
            assert api.http.get(f"{at}/store.zarr/zarr.json").json["attributes"]["job"] == id_after(sweep, 1 + index)
    events = list(api.events(id_after(sweep, 1)))
    assert [event.name for event in events] == ["frame"] * 5 + ["state", "end"]
    refused(api.http.get(f"/v1/jobs/{row.id}/store.zarr/zarr.json"), 404)
    refused(api.http.get(f"/v1/jobs/{row.id}/frames"), 404)


def test_a_summary_counts_the_last_values_of_all_members(api: Api, sweep: str) -> None:
    at = f"/v1/sweeps/{sweep}/summary"
    assert api.http.get(at).json["observables"] == {}
    (row,) = api.table.blocks(sweep)
    write(api, row, {0: 20, 1: 20, 2: 10})
    found = api.http.get(f"{at}?bins=2").json
    assert (found["size"], found["state"]) == (4, "running")
    assert found["counts"] | {"succeeded": 2, "running": 2} == found["counts"]
    assert found["progress"] == {"cell_steps": 4 * 20 * 96, "done": 50 * 96}
    last = np.array([20.0, 120.0, 210.0])
    assert found["observables"] == {
        "activity": {
            "members": 3,
            "mean": pytest.approx(last.mean()),
            "sd": pytest.approx(last.std()),
            "minimum": 20.0,
            "maximum": 210.0,
            "edges": [20.0, 115.0, 210.0],
            "counts": [1, 2],
        }
    }
    refused(api.http.get(f"{at}?bins=0"), 422, pointer="/bins")


def test_members_that_run_again_are_summarised_once(api: Api, sweep: str) -> None:
    (row,) = api.table.blocks(sweep)
    states = write(api, row, {0: 20, 1: 20, 2: 10, 3: 10})
    states.end([2, 3], MemberState.FAILED)
    claimed = api.table.get(row.id)
    api.table.finish(row.id, claimed.epoch, JobState.FAILED, step=0, manifest=claimed.manifest, members=states)
    assert api.http.post(f"/v1/sweeps/{sweep}/retry").json["counts"]["queued"] == 2
    at = f"/v1/sweeps/{sweep}/summary"
    assert api.http.get(at).json["observables"]["activity"]["members"] == 2
    write(api, api.table.blocks(sweep)[1], {0: 20, 1: 20})
    assert api.http.get(at).json["observables"]["activity"]["members"] == 4
    answer = api.http.get(f"/v1/sweeps/{sweep}/members/3/frames/phase?format=npy")
    np.testing.assert_array_equal(np.load(io.BytesIO(answer.data))[2], frame(1, 20))  # its place in the new block


def test_a_sweep_of_version_0_1_0_has_a_summary(api: Api) -> None:
    sweep, rows = rows_of(api.table, 3, observe={"every": 5, "names": ["coherence"]}, steps=20)
    for row in rows[:2]:
        worker = Pretender(api, row.id)
        worker.run(20)
        worker.finish()
    found = api.http.get(f"/v1/sweeps/{sweep.id}/summary").json
    assert found["observables"]["coherence"]["members"] == 2
    assert found["counts"]["succeeded"] == 2
