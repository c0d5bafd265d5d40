"""Every download says what it is, and programs of others read it back."""

from __future__ import annotations

import importlib.util
import io
import json
import xml.etree.ElementTree as ElementTree
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.ipc
import pyarrow.parquet
import pytest
from PIL import ExifTags, Image

from leym.contract.provenance import KEY, provenance
from leym.frames import pictures
from leym.laws.registry import SHIPPED
from tests.support.api import Api, done, refused, run_blocks
from tests.support.tools import run

KEYS = {"law", "precision", "verdict", "spec", "seed", "versions", "device", "lineage", "interventions", "citation"}
SWEEP = {
    "base": {"law": "aurora", "grid": [8, 8], "steps": 30, "observe": {"every": 10, "names": ["coherence"]}},
    "axes": {"seed": [1, 2, 3]},
}


@pytest.fixture
def job(api: Api) -> str:
    found = done(api, seed=11)
    api.http.patch(f"/v1/jobs/{found}", json={"name": "Ψ & co"})
    return found


def fetched(api: Api, path: str, to: Path | None = None) -> bytes:
    answer = api.http.get(path)
    assert answer.status_code == 200, answer.text
    if to:
        to.write_bytes(answer.data)
    return bytes(answer.data)


def check(api: Api, job: str, found: dict[str, Any]) -> None:
    """It is complete, and the same in every export."""
    assert set(found) >= KEYS
    row = api.table.get(job)
    stored = json.loads((SHIPPED / "aurora" / "fidelity" / f"{row.precision}.json").read_text())
    verdict = {key: stored[key] for key in ("precision", "verdict", "created", "power", "reasons", "versions")}
    assert found == json.loads(json.dumps(provenance(row, verdict)))
    assert (found["id"], found["seed"], found["law"]) == (job, 11, row.law)
    assert "Ψ & co" in found["citation"]
    assert "http" not in json.dumps(found), "it means the same everywhere: no address of a service"


@pytest.mark.parametrize("format", ["png", "strip", "gif", "webp", "apng"])
def test_pictures_have_it(api: Api, job: str, format: str, tmp_path: Path) -> None:
    file = tmp_path / f"out.{format}"
    body = fetched(api, f"/v1/jobs/{job}/frames/phase?format={format}&last=3", file)
    assert body == fetched(api, f"/v1/jobs/{job}/frames/phase?format={format}&last=3"), "the same bytes again"
    with Image.open(io.BytesIO(body)) as image:
        found = image.info
        text = found.get("leym") or found.get("comment")
        if format == "webp":
            text = image.getexif()[ExifTags.Base.ImageDescription]
            assert json.loads(text) == json.loads(described(image.info["xmp"]))
        assert getattr(image, "n_frames", 1) == (1 if format in pictures.STILL else 3)
    check(api, job, json.loads(text)[KEY])


def described(xmp: bytes) -> str:
    [text] = ElementTree.fromstring(xmp).iter("{http://www.w3.org/1999/02/22-rdf-syntax-ns#}li")
    return str(text.text)


@pytest.mark.parametrize("format", ["png", "gif", "apng"])
def test_imagemagick_reads_pictures(api: Api, job: str, format: str, tmp_path: Path) -> None:
    file = tmp_path / f"out.{'png' if format == 'apng' else format}"
    fetched(api, f"/v1/jobs/{job}/frames/phase?format={format}&last=2&scale=1", file)
    said = run("identify", "-verbose", file)
    text = next(line for line in said.splitlines() if f'"{KEY}"' in line)
    check(api, job, json.loads(text[text.index("{") :])[KEY])


def test_ffprobe_reads_a_video(api: Api, job: str, tmp_path: Path) -> None:
    if importlib.util.find_spec("av") is None:
        refused(api.http.get(f"/v1/jobs/{job}/frames/phase?format=mp4"), 501, "leym[video]")
        pytest.skip("PyAV is not installed: pip install 'leym[video]'")
    file = tmp_path / "out.mp4"
    answer = api.http.get(f"/v1/jobs/{job}/frames/phase?format=mp4&fps=5&scale=3")
    assert answer.mimetype == "video/mp4"
    file.write_bytes(answer.data)
    said = json.loads(
        run("ffprobe", "-v", "error", "-show_format", "-show_streams", "-count_frames", "-of", "json", file)
    )
    [stream] = said["streams"]
    assert (stream["codec_name"], stream["width"], stream["height"]) == ("h264", 36, 24)
    assert int(stream["nb_read_frames"]) == 11 == int(answer.headers["X-Frames"])
    assert round(float(said["format"]["duration"]) * 1000) == int(answer.headers["X-Duration-Ms"]) == 2200
    check(api, job, json.loads(said["format"]["tags"]["comment"])[KEY])


def test_arrays_have_it(api: Api, job: str) -> None:
    for path in (f"/v1/jobs/{job}/frames/psi?format=npz", f"/v1/jobs/{job}/observables?format=npz"):
        with np.load(io.BytesIO(fetched(api, path))) as found:
            check(api, job, json.loads(found["attributes"].item())[KEY])
    plain = fetched(api, f"/v1/jobs/{job}/frames/psi?format=npy")
    with zipfile.ZipFile(io.BytesIO(fetched(api, f"/v1/jobs/{job}/frames/psi?format=npy&provenance=1"))) as archive:
        assert archive.read("psi.npy") == plain, "the file itself has no room"
        check(api, job, json.loads(archive.read("provenance.json"))[KEY])
    root = json.loads(fetched(api, f"/v1/jobs/{job}/store.zarr/zarr.json"))
    check(api, job, json.loads(root["attributes"][KEY]))


def test_tables_have_it(api: Api, job: str, tmp_path: Path) -> None:
    import pandas

    plain = fetched(api, f"/v1/jobs/{job}/observables?format=csv")
    assert plain.startswith(b"step,"), "readers of today are not disturbed"
    commented = fetched(api, f"/v1/jobs/{job}/observables?format=csv&provenance=1")
    first, _, rest = commented.partition(b"\n")
    assert rest == plain
    check(api, job, json.loads(first.removeprefix(b"# provenance: ")))
    sweep = api.http.post("/v1/sweeps", json=SWEEP).json["id"]
    api.http.patch(f"/v1/sweeps/{sweep}", json={"name": "plane"})
    run_blocks(api, sweep)
    at = f"/v1/sweeps/{sweep}"
    table = fetched(api, f"{at}/table?format=parquet", tmp_path / "t.parquet")
    of_parquet = pyarrow.parquet.read_schema(io.BytesIO(table)).metadata[KEY.encode()]
    with pyarrow.ipc.open_stream(io.BytesIO(fetched(api, f"{at}/table?format=arrow"))) as stream:
        of_arrow = stream.schema.metadata[KEY.encode()]
    file = tmp_path / "t.csv"
    of_csv = (
        fetched(api, f"{at}/table?format=csv&provenance=1", file).partition(b"\n")[0].removeprefix(b"# provenance: ")
    )
    of_store = json.loads(fetched(api, f"{at}/store.zarr/zarr.json"))["attributes"][KEY]
    documents = [json.loads(text) for text in (of_parquet, of_arrow, of_csv, of_store)]
    assert all(document == documents[0] for document in documents)
    assert (documents[0]["kind"], documents[0]["name"], documents[0]["spec"]["axes"]) == (
        "sweep",
        "plane",
        SWEEP["axes"],
    )
    assert len(pandas.read_csv(file, skiprows=1)) == len(pandas.read_parquet(tmp_path / "t.parquet")) == 3


def test_a_job_whose_parent_was_deleted_still_names_it(api: Api) -> None:
    parent = done(api, steps=30, record=[{"field": "psi", "every": 10}])
    child = api.http.post(f"/v1/jobs/{parent}/fork", json={"step": 20, "steps": 30, "gamma": 0.5}).json["id"]
    api.http.post(f"/v1/jobs/{child}/cancel")
    assert api.http.delete(f"/v1/jobs/{parent}").status_code == 204
    found = json.loads(json.loads(fetched(api, f"/v1/jobs/{child}/store.zarr/zarr.json"))["attributes"][KEY])
    [above] = found["lineage"]
    assert (above["id"], above["deleted"], above["spec"]["steps"]) == (parent, True, 30)
    assert found["spec"]["initial"] == {"kind": "continue", "job": parent, "step": 20}


def test_other_colours_and_ranges_and_a_grid_of_stills(api: Api, job: str) -> None:
    at = f"/v1/jobs/{job}/frames"

    def pixels(query: str) -> np.ndarray:
        with Image.open(io.BytesIO(fetched(api, f"{at}/{query}"))) as image:
            return np.asarray(image.convert("RGB"))

    with np.load(io.BytesIO(fetched(api, f"{at}/phase?last=1"))) as found:
        frame = found["phase"].astype(np.float64)
    gray = pixels("phase?format=png&last=1&scale=1&colormap=gray&vmin=-1&vmax=1")
    assert np.abs(gray[..., 0] - np.clip((frame[0] + 1) * 128, 0, 255)).max() <= 1
    spread = pixels("phase?format=png&last=1&scale=1&colormap=gray&range=auto")
    assert (spread.min(), spread.max()) == (0, 255)
    assert pixels("channel_power?channel=0&format=png&last=1&colormap=magma&range=percentile").std() > 0
    answer = api.http.get(f"{at}/phase?format=png&grid=2x3&scale=1")
    assert (answer.headers["X-Frames"], answer.headers["X-Steps"]) == ("6", "0:36:6")
    with Image.open(io.BytesIO(answer.data)) as sheet:
        gap = pictures.GAP
        assert sheet.size == (3 * 12 + 2 * gap, 2 * 8 + gap)
    strip = api.http.get(f"{at}/phase?format=strip&scale=1")
    with Image.open(io.BytesIO(strip.data)) as sheet:
        assert sheet.size == (11 * (12 + gap) - gap, 8)


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ("phase?format=gif&grid=2x2", "choose png"),
        ("phase?format=png&grid=100x100", "at most 400"),
        ("phase?format=png&vmin=1", "needed together"),
        ("phase?format=png&vmin=1&vmax=0", "not below"),
        ("phase?format=png&vmin=0&vmax=1&range=auto", "already"),
        ("psi?format=png&colormap=gray", "choose a channel"),
        ("phase?format=png&colormap=jet", "colormap"),
    ],
)
def test_options_that_do_not_fit_are_refused(api: Api, job: str, query: str, why: str) -> None:
    refused(api.http.get(f"/v1/jobs/{job}/frames/{query}"), 422, why)
