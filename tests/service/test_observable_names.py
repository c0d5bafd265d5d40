"""Names of observables, from the worker to every place where a user reads them."""

from __future__ import annotations

import io
import json
import urllib.request

import numpy as np
import pandas
import xarray

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
