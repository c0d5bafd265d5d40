"""The SDK reads a sweep of the real API: its labelled array, its table and its members."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from leym.client import Client, Sweep
from leym.contract.member_states import MemberState, MemberStates
from leym.contract.ranges import unpack_ranges
from leym.contract.records import JobState
from leym.frames.layout import arrays_of
from leym.frames.writer import FrameWriter
from tests.support.api import Api, reachable


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with reachable(tmp_path) as found:
        yield found


@pytest.fixture
def client(api: Api) -> Iterator[Client]:
    with Client(api.url) as found:
        yield found


def run_blocks(api: Api, sweep: str) -> None:
    """Run every block to its end: the phase of a member is its index plus the step, and so is its coherence."""
    for row in api.table.blocks(sweep):
        claim = api.table.claim(row.id, "pretender", 60, 9)
        assert claim is not None
        indices, job = unpack_ranges(row.indices or ""), claim.job
        height, width = job.grid
        steps = job.steps // job.members
        states = MemberStates.new(len(indices))
        writer = FrameWriter(
            api.store, row.id, claim.epoch, arrays_of(job), {}, {}, members=len(indices), shown=states.step
        )
        for step in range(0, steps + 1, 5):
            values = (indices + step).astype(np.float64)
            phase = np.broadcast_to(values[:, None, None], (len(indices), height, width)).astype(np.float32)
            writer.append(step, np.arange(len(indices)), {"phase": phase}, {"coherence": values})
        states.step[:] = steps
        states.end(np.arange(len(indices)), MemberState.SUCCEEDED)
        api.table.finish(
            row.id, claim.epoch, JobState.SUCCEEDED, step=job.steps, manifest=writer.flush(), members=states
        )


def ended(api: Api, client: Client, **axes: object) -> Sweep:
    observe = {"every": 5, "names": ["coherence"]}
    sweep: Sweep = client.sweep("aurora", **({"grid": 8, "steps": 10} | axes), record={"phase": 5}, observe=observe)
    run_blocks(api, sweep.id)
    return sweep.wait(240)


def test_a_sweep_is_one_labelled_array(api: Api, client: Client) -> None:
    sweep = ended(api, client, gamma=[0.0, 0.01, 0.5], seed=range(4))
    found = sweep.dataset()
    assert found["phase"].dims == ("gamma", "seed", "step", "y", "x")
    assert found["phase"].attrs["cmap"] == "twilight"
    assert found["phase"].chunks is not None, "dask reads it in parallel"
    one = found["phase"].sel(gamma=0.01, seed=2, step=10)
    np.testing.assert_array_equal(one, np.full((8, 8), 6 + 10))
    np.testing.assert_array_equal(found["coherence"].sel(step=5), np.arange(12).reshape(3, 4) + 5.0)
    assert list(sweep.datasets()) == [""]


def test_members_of_several_shapes_are_several_datasets(api: Api, client: Client) -> None:
    sweep = ended(api, client, grid=[(8, 8), (8, 16)], seed=range(3))
    with pytest.raises(ValueError, match=r"differ in shape: use .datasets"):
        sweep.dataset()
    wide = next(found for found in sweep.datasets().values() if found.sizes["x"] == 16)
    np.testing.assert_array_equal(wide["coherence"].sel(step=0), [3, 4, 5])


def test_tables_plots_and_members(api: Api, client: Client) -> None:
    sweep = ended(api, client, gamma=[0.0, 0.5], seed=range(4))
    frame = sweep.table(filter="gamma>0.1", sort="seed", descending=True)
    assert frame["index"].tolist() == [7, 6, 5, 4]
    assert frame["coherence"].tolist() == [17, 16, 15, 14]
    means = sweep.table(aggregate=["mean", "max"], over="seed")
    assert means["coherence.mean"].tolist() == [11.5, 15.5]
    axes = sweep.phase_diagram("gamma", "seed", value="coherence")
    np.testing.assert_array_equal(axes.collections[0].get_array(), (np.arange(8) + 10).reshape(2, 4).T)
    member = sweep.member(5)
    assert (member.spec["gamma"], member.spec["seed"], member.state) == (0.5, 1, "succeeded")
    steps, phase = member.array("phase")
    assert steps.tolist() == [0, 5, 10]
    np.testing.assert_array_equal(phase[:, 0, 0], [5, 10, 15])
    assert next(sweep.jobs()).id == sweep.member(-1).id
    assert sweep.summary()["observables"]["coherence"]["members"] == 8


def test_the_life_of_a_sweep(api: Api, client: Client) -> None:
    wanted = {"seed": range(1000), "gamma": np.linspace(0, 1, 100), "steps": 10}
    facts = client.estimate_sweep("aurora", **wanted)
    assert facts["size"] == 100_000
    assert facts["cell_steps"] == 100_000 * 64 * 64 * 10
    sweep = client.sweep("aurora", **wanted, priority=2)
    assert sweep.progress["cell_steps"] == facts["cell_steps"]
    assert sweep.pause().state == "paused"
    assert sweep.resume().state == "running"
    sweep.set_priority(7)
    assert {row.priority for row in api.table.blocks(sweep.id)} == {7}
    assert sweep.cancel().counts["cancelled"] == sweep.size
    assert sweep.retry().state == "cancelled", "only failed members run again"
