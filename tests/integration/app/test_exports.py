"""One file with everything: complete, readable by programs of others, and no longer in memory than its parts."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from leym.contract.provenance import KEY
from leym.laws.bundle import read_bundle
from tests.support.api import Api, done, refused, run_blocks
from tests.support.tools import run

SWEEP = {
    "base": {"law": "aurora", "grid": [8, 8], "steps": 30, "observe": {"every": 10, "names": ["coherence"]}},
    "axes": {"seed": [1, 2, 3]},
}


def exported(api: Api, at: str, format: str, to: Path) -> Path:
    answer = api.http.get(f"{at}/export?format={format}")
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Disposition"].endswith(f'.{format}"')
    file = to / f"out.{format}"
    file.write_bytes(answer.data)
    return file


def test_a_zip_has_everything_and_is_the_same_again(api: Api, tmp_path: Path) -> None:
    state = np.ones((8, 12, api.table.get(done(api)).d_state), np.complex64)
    file = io.BytesIO()
    np.save(file, state)
    upload = api.http.post("/v1/states", data=file.getvalue(), content_type="application/octet-stream").json["id"]
    job = done(api, initial={"kind": "upload", "id": upload})
    first = exported(api, f"/v1/jobs/{job}", "zip", tmp_path)
    with zipfile.ZipFile(first) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        origin = json.loads(archive.read("provenance.json"))
        spec = json.loads(archive.read("spec.json"))
        law = tmp_path / "law"
        for name in ("manifest.json", "weights.safetensors"):
            law.mkdir(exist_ok=True)
            (law / name).write_bytes(archive.read(f"laws/{origin['law']}/{name}"))
        assert read_bundle(law).ref == origin["law"] == spec["law"], "the law is whole"
        assert hashlib.sha256(archive.read(f"states/{upload}.npy")).hexdigest() == upload
        with np.load(io.BytesIO(api.http.get(f"/v1/jobs/{job}/frames/psi").data)) as found:
            assert np.array_equal(np.load(io.BytesIO(archive.read("frames/psi.npy"))), found["psi"])
            assert np.array_equal(np.load(io.BytesIO(archive.read("steps/psi.npy"))), found["step"])
        assert archive.read("observables.csv") == api.http.get(f"/v1/jobs/{job}/observables?format=csv").data
        crate = json.loads(archive.read("ro-crate-metadata.json"))
        files = {one["@id"] for one in crate["@graph"] if one.get("@type") == "File"}
        assert files == set(names) - {"ro-crate-metadata.json"}, "the crate describes every file"
        root = next(one for one in crate["@graph"] if one["@id"] == "./")
        assert {part["@id"] for part in root["hasPart"]} == files
    body = first.read_bytes()
    assert exported(api, f"/v1/jobs/{job}", "zip", tmp_path).read_bytes() == body
    again = api.http.post("/v1/jobs", json=spec)
    assert again.status_code == 202, "its spec can be submitted as it is"


@pytest.mark.parametrize("format", ["zarr.zip", "nc"])
def test_xarray_opens_it(api: Api, tmp_path: Path, format: str) -> None:
    import xarray
    from zarr.storage import ZipStore

    job = done(api)
    file = exported(api, f"/v1/jobs/{job}", format, tmp_path)
    if format == "nc":
        opened = xarray.open_dataset(file, engine="h5netcdf")
    else:
        opened = xarray.open_zarr(ZipStore(file, mode="r"), consolidated=True, zarr_format=3, chunks=None)
    with opened as found:
        assert json.loads(found.attrs[KEY])["id"] == job
        for field in ("phase", "channel_power", "psi"):
            with np.load(io.BytesIO(api.http.get(f"/v1/jobs/{job}/frames/{field}").data)) as recorded:
                assert np.array_equal(found[field].values, recorded[field])
                assert np.array_equal(found[found[field].dims[0]].values, recorded["step"])
                assert found[field].attrs["units"]
        numbers = api.http.get(f"/v1/jobs/{job}/observables").json
        assert found["coherence"].values.tolist() == numbers["coherence"]


def test_programs_of_unidata_and_the_hdf_group_read_netcdf(api: Api, tmp_path: Path) -> None:
    job = done(api)
    file = exported(api, f"/v1/jobs/{job}", "nc", tmp_path)
    head = run("ncdump", "-h", file)
    assert "float phase(" in head
    assert f'\\"id\\": \\"{job}\\"' in head
    assert f'"id": "{job}"' in run("h5dump", "-a", f"/{KEY}", file).replace('\\"', '"')


def test_a_sweep_has_its_table_and_its_arrays(api: Api, tmp_path: Path) -> None:
    import pandas
    import xarray
    from zarr.storage import ZipStore

    sweep = api.http.post("/v1/sweeps", json=SWEEP).json["id"]
    run_blocks(api, sweep)
    at = f"/v1/sweeps/{sweep}"
    with zipfile.ZipFile(exported(api, at, "zip", tmp_path)) as archive:
        assert archive.testzip() is None
        archive.extractall(tmp_path / "all")
    table = pandas.read_csv(tmp_path / "all" / "table.csv")
    assert table["seed"].tolist() == [1, 2, 3]
    assert json.loads((tmp_path / "all" / "provenance.json").read_text())["kind"] == "sweep"
    folder = xarray.open_zarr(tmp_path / "all" / "store.zarr", consolidated=True, zarr_format=3, chunks=None)
    single = ZipStore(exported(api, at, "zarr.zip", tmp_path), mode="r")
    with xarray.open_zarr(single, consolidated=True, zarr_format=3, chunks=None) as found:
        assert found.identical(folder)
        assert found["coherence"].sel(seed=2).values.tolist() == [0.125, 10.125, 20.125, 30.125]
    member = api.http.get(f"{at}/members/1").json["id"]
    assert exported(api, f"/v1/jobs/{member}", "zip", tmp_path).stat().st_size > 1000, "and a member is a job"


def test_what_is_gone_or_unknown_is_refused(api: Api) -> None:
    job = done(api)
    refused(api.http.get(f"/v1/jobs/{job}/export?format=hdf"), 422, "format")
    refused(api.http.get("/v1/jobs/nobody/export"), 404)
    api.http.delete(f"/v1/jobs/{job}")
    refused(api.http.get(f"/v1/jobs/{job}/export"), 410)
