"""The labelled array of a sweep, read by xarray over real HTTP and held against arrays of numpy."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import xarray
import zarr

from leym.contract.member_states import MemberState
from leym.contract.records import JobState
from leym.frames import sweep_zarr
from tests.support.sweeps import RECORD, SPEC, Plan, WrittenBlock, activity, http, object_at, phase

pytestmark = pytest.mark.usefixtures("small_sweeps")
GAMMAS = [0.0, 0.01, 0.05]


def test_a_product_has_its_axes_as_dimensions_and_grows(memory):
    plan = Plan({"gamma": np.array(GAMMAS), "seed": range(10, 14)})
    first, second = (
        WrittenBlock(memory, "a" * 26, range(7), **SPEC),
        WrittenBlock(memory, "b" * 26, range(7, 12), **SPEC),
    )
    phases = np.full((12, 3, 4, 6), np.nan, np.float16)
    numbers = np.full((12, 3), np.nan)
    with http(memory, plan, lambda: [first.row, second.row]) as url:

        def check() -> xarray.Dataset:
            with xarray.open_zarr(url, chunks=None) as found:
                assert dict(found.sizes) == {"gamma": 3, "seed": 4, "step": 3, "y": 4, "x": 6}
                assert found["phase"].dims == ("gamma", "seed", "step", "y", "x")
                assert np.array_equal(found["phase"].values.reshape(12, 3, 4, 6), phases, equal_nan=True)
                assert np.array_equal(found["activity"].values.reshape(12, 3), numbers, equal_nan=True)
                assert found["gamma"].values.tolist() == GAMMAS
                assert found["seed"].values.tolist() == [10, 11, 12, 13]
                assert found["step"].values.tolist() == [0, 5, 10]
                return found.load()

        def write(block: WrittenBlock, steps: int, places: list[int]) -> None:
            block.write(steps, places)
            for place in places:
                index = int(block.indices[place])
                for i, step in enumerate(range(0, steps + 1, 5)):
                    phases[index, i], numbers[index, i] = phase(step, index, (4, 6)), activity(step, index)

        found = check()
        assert (found["steps_done"].values == -1).all()
        assert (found["state"].values == 1).all()
        write(first, 5, [1, 2, 6])
        check_before = len(list(memory.list("jobs/")))
        assert check_before == 0, "not yet committed"
        first.commit()
        check()
        write(first, 10, [0, 1, 2, 3])
        write(second, 0, [4])
        first.end([1, 2], MemberState.SUCCEEDED)
        first.end([6], MemberState.FAILED, problem={"title": "No", "detail": "it was not finite", "status": 422})
        second.end([4], MemberState.SUCCEEDED, stopped=1)
        first.commit()
        second.commit()
        found = check()
        states = found["state"].attrs["flag_meanings"].split()
        named = [states[code] for code in found["state"].values.ravel().tolist()]
        assert named == ["running", "succeeded", "succeeded", *["running"] * 3, "failed", *["running"] * 4, "succeeded"]
        assert found["steps_done"].values.ravel().tolist() == [10, 10, 10, 10, -1, -1, 5, -1, -1, -1, -1, 0]
        assert found["stopped_at"].values.ravel().tolist() == [-1] * 11 + [0]
        assert found["error"].values.ravel().tolist() == [""] * 6 + ["it was not finite"] + [""] * 5
        assert np.array_equal(found["phase"].sel(gamma=0.01, seed=12).values, phases[6], equal_nan=True)
        assert found["phase"].attrs["units"] == "rad"
        assert found.attrs["sweep"] == "s" * 26
        assert json.loads(found.attrs["axes"]) == ["gamma", "seed"]
        write(first, 10, list(range(7)))
        write(second, 10, list(range(5)))
        first.commit(JobState.SUCCEEDED)
        second.commit(JobState.SUCCEEDED)
        found = check()
        assert np.isfinite(found["phase"].values).all()
        with xarray.open_zarr(url, group="observables", chunks=None) as inside:
            assert np.array_equal(inside["activity"].values, found["activity"].values)
        assert sweep_zarr.find(memory, plan, lambda: [first.row, second.row], "zarr.json").final


def test_everything_goes_into_netcdf_and_back(memory, tmp_path):
    plan = Plan({"law": ["tiny", "émile"], "initial.strength": [0.5, 1]})
    block = WrittenBlock(memory, "a" * 26, range(4), **SPEC)
    block.write(10, range(4))
    block.commit()
    with http(memory, plan, lambda: [block.row]) as url, xarray.open_zarr(url, chunks=None) as found:
        assert found["phase"].dims[:2] == ("law", "initial.strength")
        assert found["law"].values.tolist() == ["tiny", "émile"]
        assert found["initial.strength"].values.tolist() == [0.5, 1.0]
        one = found["phase"].sel({"law": "émile", "initial.strength": 0.5}).isel(step=1)
        assert np.array_equal(one.values, phase(5, 2, (4, 6)))
        found.load().to_netcdf(tmp_path / "sweep.nc")
        with xarray.open_dataset(tmp_path / "sweep.nc") as back:
            assert np.array_equal(back["phase"].values, found["phase"].values)
            assert back["law"].values.tolist() == found["law"].values.tolist()


def test_a_zipped_sweep_has_one_dimension(memory):
    plan = Plan(
        {"gamma": [0.1, 0.3, 0.2, 0.2], "initial": [{"kind": "complex_noise"}] * 4, "seed": [5, 3, 3, 9]}, "zip"
    )
    block = WrittenBlock(memory, "a" * 26, range(4), **SPEC)
    block.write(10, [0, 2])
    block.commit()
    with http(memory, plan, lambda: [block.row]) as url, xarray.open_zarr(url) as found:
        assert found["phase"].dims == ("member", "step", "y", "x")
        assert found["member"].values.tolist() == [0, 1, 2, 3]
        assert found["gamma"].dims == ("member",)
        assert "gamma" in found.coords
        assert found["gamma"].values.tolist() == [0.1, 0.3, 0.2, 0.2]
        assert found["seed"].values.tolist() == [5, 3, 3, 9]
        assert json.loads(found["initial"].values[0]) == {"kind": "complex_noise"}
        assert np.array_equal(found["phase"].values[2, 1], phase(5, 2, (4, 6)))
        assert np.isnan(found["phase"].values[1]).all()
        assert found["steps_done"].values.tolist() == [10, -1, 10, -1]


@pytest.mark.parametrize("mode", ["product", "zip"])
def test_members_of_each_shape_are_a_group(memory, mode):
    grids = [[4, 6], [8, 8]]
    if mode == "product":
        plan = Plan({"seed": [1, 2, 3], "grid": grids})
        of = [[0, 2, 4], [1, 3, 5]]
    else:
        plan = Plan({"seed": [1, 2, 3, 4], "grid": [grids[1], grids[0], grids[0], grids[1]]}, "zip")
        of = [[1, 2], [0, 3]]
    blocks = []
    for letter, grid, indices in zip("ab", grids, of, strict=True):
        blocks.append(WrittenBlock(memory, letter * 26, indices, **SPEC | {"grid": grid}))
        blocks[-1].write(10, range(len(indices)))
        blocks[-1].commit()
    with http(memory, plan, lambda: [block.row for block in blocks]) as url:
        root = zarr.open_group(url, mode="r")
        shapes = json.loads(root.attrs["shapes"])
        assert [shape["members"] for shape in shapes] == [len(indices) for indices in of]
        for shape in shapes:
            which = grids.index(shape["grid"])
            with xarray.open_zarr(url, group=shape["group"], chunks=None) as found:
                assert found["phase"].dims == ("seed" if mode == "product" else "member", "step", "y", "x")
                assert found["phase"].shape == (len(of[which]), 3, *grids[which])
                for position, index in enumerate(of[which]):
                    assert np.array_equal(found["phase"].values[position, 2], phase(10, index, tuple(grids[which])))
                    assert found["activity"].values[position, 1] == activity(5, index)
        with xarray.open_datatree(url, engine="zarr") as tree:
            assert set(tree.children) == {"shape_0", "shape_1"}


def test_laws_with_other_numbers_of_channels_are_other_shapes_only_for_fields_by_channel(memory):
    plan = Plan({"law": ["one", "two"], "seed": [1, 2]})
    record = {"record": [{"field": "channel_power", "every": 5, "dtype": "float16"}], "observe": None}
    for more, groups in ((RECORD, 0), (record, 2)):
        blocks = [
            WrittenBlock(memory, letter * 26, members, d_state=d, **SPEC | more)
            for letter, members, d in (("a", [0, 1], 3), ("b", [2, 3], 5))
        ]
        metadata = json.loads(object_at("zarr.json", memory, plan, blocks))
        found = metadata["consolidated_metadata"]["metadata"]
        assert sum(name.startswith("shape_") and "/" not in name for name in found) == groups
        if groups:
            assert [found[f"shape_{i}/channel_power"]["shape"] for i in (0, 1)] == [[2, 3, 4, 6, 3], [2, 3, 4, 6, 5]]
            assert found["shape_1/channel_power"]["dimension_names"][0] == "seed"


def test_a_member_that_moved_is_read_from_its_newest_block(memory):
    plan = Plan({"seed": range(4)})
    old, new = WrittenBlock(memory, "a" * 26, range(4), **SPEC), WrittenBlock(memory, "b" * 26, [1, 2], **SPEC)
    old.write(5, range(4))
    old.end([1, 2], MemberState.MOVED)
    old.commit(JobState.RUNNING)
    new.write(10, [1])
    new.commit()
    with http(memory, plan, lambda: [old.row, new.row]) as url, xarray.open_zarr(url, chunks=None) as found:
        assert found["steps_done"].values.tolist() == [5, -1, 10, 5]
        assert np.array_equal(found["phase"].values[2, 2], phase(10, 2, (4, 6)))
        assert np.isnan(found["phase"].values[1]).all()


def test_the_jobs_of_a_sweep_without_blocks_are_read_too(memory):
    """Sweeps of version 0.1.0 have a row per job."""
    plan = Plan({"seed": range(3)})
    rows = []
    for index in range(3):
        block = WrittenBlock(memory, "abc"[index] * 26, [index], **SPEC)
        if index != 1:
            block.write(10, [0])
            block.commit()
        done = JobState.SUCCEEDED if index == 0 else JobState.FAILED
        error = {"title": "No", "detail": "lost"} if index == 2 else None
        rows.append(dataclasses.replace(block.row, indices=None, member_states=None, step=10, state=done, error=error))
    with http(memory, plan, lambda: rows) as url, xarray.open_zarr(url, chunks=None) as found:
        assert found["steps_done"].values.tolist() == [10, -1, 10]
        assert found["error"].values.tolist() == ["", "", "lost"]
        assert np.array_equal(found["phase"].values[2, 1], phase(5, 2, (4, 6)))
        assert np.isnan(found["phase"].values[1]).all()
        assert found["activity"].values[0].tolist() == [activity(step, 0) for step in (0, 5, 10)]
