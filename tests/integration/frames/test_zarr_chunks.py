"""Chunks and metadata of the Zarr hierarchy: their sizes, names, attributes and dtypes."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import xarray
import zarr

from leym.contract.spec import JobSpec
from leym.frames.layout import TABLE_ROWS, arrays_of
from leym.frames.writer import FrameWriter
from tests.support.frames import SPEC, Row, append_one, asked

CHUNKS = [  # grid, field, dtype, recorded every, steps; bytes of a frame, frames of a chunk
    ((64, 64), "phase", "float32", 1, 2000, 16_384, 64),
    ((64, 64), "phase", "float16", 1, 2000, 8_192, 128),
    ((100, 100), "phase", "float32", 1, 2000, 40_000, 26),
    ((64, 64), "psi", "complex64", 1, 2000, 262_144, 4),
    ((512, 512), "phase", "float32", 1, 20, 1_048_576, 1),
    ((512, 512), "psi", "complex64", 1, 20, 16_777_216, 1),
    ((64, 64), "phase", "float32", 10, 400, 16_384, 41),  # no more than the job will have
    ((64, 64), "phase", "float32", 1, 1, 16_384, 2),
]


@pytest.mark.parametrize(("grid", "field", "dtype", "every", "steps", "frame_bytes", "frames"), CHUNKS)
def test_small_frames_share_a_chunk_of_at_most_a_mebibyte(grid, field, dtype, every, steps, frame_bytes, frames):
    record = [{"field": field, "every": every, "dtype": dtype}]
    spec = JobSpec.model_validate({"law": "tiny", "grid": grid, "steps": steps, "record": record})
    [array] = arrays_of(Row(spec=spec.model_dump(mode="json"), d_state=8))
    assert (array.frame_bytes, array.chunk_frames) == (frame_bytes, frames)
    enough = steps // every + 1 > frames
    assert frames == 1 or not enough or 2**18 <= frames * frame_bytes <= 2**20


def test_the_consolidated_metadata_is_that_of_every_array(served):
    served.steps(3)
    served.commit()
    group = zarr.open_consolidated(served.url)
    fields, observables = {"psi", "phase", "step_1", "step_2"}, {"activity", "coherence", "step_1"}
    assert set(group.array_keys()) == fields | observables
    assert set(group["observables"].array_keys()) == observables
    names = fields | observables | {f"observables/{name}" for name in observables}
    for name in names:
        alone = zarr.open_array(f"{served.url}/{name}", mode="r")
        assert alone.metadata.to_dict() | {"fill_value": 0} == group[name].metadata.to_dict() | {"fill_value": 0}
        assert alone.fill_value == 0 if "step" in name else np.isnan(alone.fill_value)
    below = zarr.open_consolidated(f"{served.url}/observables")
    assert set(below.array_keys()) == observables
    assert dict(below.attrs) == dict(group["observables"].attrs)
    with xarray.open_zarr(served.url, consolidated=True) as found:
        assert set(found.variables) == fields | observables
        assert found["psi"].shape == (3, 4, 6, 3)
    assert group.attrs["state"] == "running"
    assert group.attrs["seed"] == 0
    assert group["phase"].attrs["formula"]


def test_a_field_and_an_observable_of_one_name_are_both_read_under_it(served, monkeypatch):
    record = [{"field": "activity", "every": 2}]
    spec = JobSpec.model_validate(SPEC | {"record": record}).model_dump(mode="json")
    served.row = dataclasses.replace(served.row, spec=spec)
    served.arrays = arrays_of(served.row)
    served.writer = FrameWriter(served.store, served.row.id, 1, served.arrays, None)
    for step in range(5):
        cells = {"activity": np.full((4, 6), step, np.float32)} if step % 2 == 0 else {}
        append_one(served.writer, step, cells, {"activity": step / 7, "coherence": 1.0})
    served.at = 4
    served.commit()
    with xarray.open_datatree(served.url, engine="zarr") as tree:
        assert tree["activity"].dims == ("step_2", "y", "x")
        assert tree["activity"].values[2].max() == 4
        assert tree["observables/activity"].values.tolist() == [0, 1 / 7, 2 / 7, 3 / 7, 4 / 7]
        assert set(tree["observables"].data_vars) == {"activity", "coherence"}
        assert tree["coherence"].values.tolist() == [1.0] * 5, "no field has this name: it stands at the root too"


def test_every_attribute_and_every_dtype_goes_into_netcdf_and_back(served, tmp_path):
    """The attributes are those of a real run: a spec with structure, and segments that the engine described."""
    served.writer.start_segment(0, {"batch_size": 8, "kernel": "fused", "device": None, "compiled": True})
    served.steps(3)
    served.commit()
    observables = {"activity", "coherence"}
    for group, names in ((None, {"psi", "phase"} | observables), ("observables", observables)):
        with xarray.open_zarr(served.url, group=group) as found:
            found.to_netcdf(tmp_path / "job.nc")
            with xarray.open_dataset(tmp_path / "job.nc") as back:
                assert set(back.data_vars) == names
                xarray.testing.assert_identical(found.load(), back.load())
                assert {name: back[name].dtype for name in names} == {name: found[name].dtype for name in names}
                assert json.loads(back.attrs["spec"]) == served.row.spec
                assert json.loads(back.attrs["segments"])[0]["kernel"] == "fused"
                assert back.attrs["seed"] == 0
                assert back.attrs["gamma"] == 0.01
    with xarray.open_datatree(served.url, engine="zarr") as tree:
        tree.to_netcdf(tmp_path / "tree.nc")


def test_numbers_fill_their_chunk(served):
    served.steps(3)
    served.commit()
    numbers = np.frombuffer(asked(served, "observables/activity/c/0"), "<f8")
    steps = np.frombuffer(asked(served, "step_2/c/0"), "<i8")
    assert len(numbers) == len(steps) == TABLE_ROWS
    assert numbers[:3].tolist() == [0, 1 / 7, 2 / 7]
    assert np.isnan(numbers[3:]).all()
    assert steps[:2].tolist() == [0, 2]
