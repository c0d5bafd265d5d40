"""Names and values of observables, cells and histograms, in every place where a user reads them."""

from __future__ import annotations

import io
import json
import urllib.request

import numpy as np
import pandas
import pytest
import xarray

from leym.client import ProblemError
from leym.contract.catalog import OBSERVABLES


def test_an_observable_has_one_name_and_one_value_everywhere(service):
    """In the record, REST, CSV, npz, Zarr, the stream of events, the SDK, and the table and the array of a sweep."""
    names = tuple(OBSERVABLES)
    observe = {"every": 5, "names": names}
    sweep = service.client.sweep("tiny", {"seed": [4]}, grid=(16, 16), steps=20, observe=observe, record={"flow": 5})
    job = service.client.submit("tiny", (16, 16), 20, {"flow": 5}, seed=4, observe=observe).wait(240)

    def read(path):
        with urllib.request.urlopen(f"{service.url}{path}") as answer:
            return answer.read()

    at = f"/v1/jobs/{job.id}"
    expected = json.loads(read(f"{at}/observables"))
    assert list(expected) == ["step", *names]
    assert expected["step"] == [0, 5, 10, 15, 20]
    last = {name: expected[name][-1] for name in names}
    assert last["correlation_length"] > 0 < last["vortices"]
    assert json.loads(read(at))["observables"] == last
    from_csv = pandas.read_csv(io.BytesIO(read(f"{at}/observables?format=csv")))
    from_npz = np.load(io.BytesIO(read(f"{at}/observables?format=npz")))
    from_zarr = xarray.open_zarr(f"{service.url}{at}/store.zarr", group="observables")
    from_sdk = job.observables
    assert list(from_csv.columns) == ["step", *names]
    assert set(from_npz.files) == {"step", "attributes", *names}
    assert set(from_zarr.data_vars) == set(from_sdk.data_vars) == set(names)
    for found in (from_csv, from_npz, from_zarr, from_sdk):
        assert all(np.array_equal(np.asarray(found[name]), expected[name]) for name in names)
    assert all(from_zarr[name].attrs["units"] == OBSERVABLES[name].units for name in names)
    sweep.wait(240)
    assert set(names) <= set(sweep.table().columns)
    assert set(names) <= set(xarray.open_zarr(f"{service.url}/v1/sweeps/{sweep.id}/store.zarr").data_vars)
    flow = job.array("flow")[1]
    assert not flow[0].any()
    assert flow[1:].all()


def test_cells_and_histograms_are_those_of_the_frames(service):
    job = service.client.submit("tiny", (16, 24), 40, {"psi": 10, "phase": 10}, seed=8).wait(240)
    steps, psi = job.array("psi")
    cell = job.cell(3, 20)
    assert np.array_equal(cell["step"], steps)
    assert np.array_equal(cell["re_0"], psi[:, 3, 20, 0].real)
    assert np.array_equal(cell["im_1"], psi[:, 3, 20, 1].imag)
    phase = job.array("phase", start=20)[1]
    assert np.array_equal(job.cell(0, 1, "phase", start=20, stride=2)["phase"], phase[::2, 0, 1])
    longer = job.extend(60).wait(240)
    whole = longer.cell(3, 20, lineage=True)
    assert whole["step"].tolist() == [0, 10, 20, 30, 40, 50, 60]
    assert np.array_equal(whole["re_0"][:5], cell["re_0"])
    assert longer.cell(3, 20)["step"].tolist() == [50, 60]
    found = job.histogram("phase", 8, low=-1, high=1, start=20)
    assert found["step"].tolist() == [20, 30, 40]
    for counts, outside, frame in zip(found["counts"], found["outside"], phase, strict=True):
        expected = np.histogram(frame, bins=found["edges"])[0]
        assert counts.tolist() == expected.tolist()
        assert outside == frame.size - expected.sum()
    assert job.histogram("real", last=1)["step"].tolist() == [40]
    with pytest.raises(ProblemError, match="complex"):
        job.histogram("psi")
