"""Start states over REST: those that a law names, and those that lie in its box."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from leym.frames.layout import arrays_of
from leym.laws.bundle import MANIFEST, WEIGHTS
from tests.support.api import SPEC, Api, opened, refused
from tests.support.law_uploads import law, put, zipped
from tests.support.laws import write_law


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with opened(tmp_path / "data") as found:
        yield found


SMOOTH = {"kind": "smooth", "scale": 3.0, "re": [0.0, 1.0], "im": [0.0, 0.5]}


def test_a_job_and_a_sweep_that_name_no_start_take_that_of_the_law(api: Api, tmp_path: Path) -> None:
    bundle = law(tmp_path)
    said = bundle.manifest.model_dump(include={"architecture", "d_state", "hidden_channels", "form"})
    started = write_law(tmp_path / "s" / "tiny", load_file(bundle.path / WEIGHTS), **said, start=SMOOTH)
    assert started.digest != bundle.digest
    assert (
        write_law(tmp_path / "n" / "tiny", load_file(bundle.path / WEIGHTS), **said, start=None).digest == bundle.digest
    )
    kinds = [write_law(tmp_path / kind, {}, **said, start={"kind": kind}).digest for kind in ("zeros", "random")]
    assert kinds[0] != kinds[1]
    put(api, "tiny", zipped(started))
    assert api.http.get("/v1/laws/tiny").json["start"] == SMOOTH
    record = api.http.get(f"/v1/jobs/{api.submit(law='tiny', grid=[8, 8])}").json
    assert record["spec"]["initial"] == SMOOTH
    zeros = api.submit(law="tiny", grid=[8, 8], initial={"kind": "zeros"})
    assert api.http.get(f"/v1/jobs/{zeros}").json["spec"]["initial"] == {"kind": "zeros"}
    base = {"law": "tiny", "grid": [8, 8], "steps": 2}
    for axes, kind in (({"seed": [1, 2]}, "smooth"), ({"law": ["tiny", "aurora"]}, "complex_noise")):
        sweep = api.http.post("/v1/sweeps", json={"base": base, "axes": axes}).json["id"]
        member = api.http.get(f"/v1/sweeps/{sweep}/members/0").json
        assert member["spec"]["initial"]["kind"] == kind, axes


def test_a_start_beyond_the_box_of_its_law_is_refused(api: Api, tmp_path: Path) -> None:
    bundle = law(tmp_path)
    manifest = json.loads((bundle.path / MANIFEST).read_text())
    wrong = manifest | {"constraint": {"box": [0, 1]}, "start": SMOOTH | {"im": [-0.5, 0.5]}}
    (bundle.path / MANIFEST).write_text(json.dumps(wrong))
    refused(put(api, "tiny", zipped(bundle)), 422, "start", "-0.5", "[0, 1]")


def test_a_law_in_a_box_says_so_and_takes_the_starts_that_lie_in_it(api: Api, tmp_path: Path) -> None:
    drawn = law(tmp_path)
    said = drawn.manifest.model_dump(include={"architecture", "d_state", "hidden_channels", "form"})
    bounds = {"constraint": {"box": [0.0, 1.0]}, "living": {"channel": 3, "above": 0.1}}
    boxed = write_law(tmp_path / "boxed", load_file(drawn.path / WEIGHTS), **said, **bounds)
    assert put(api, "boxed", zipped(boxed)).status_code == 201
    found = api.http.get("/v1/laws/boxed").json
    assert {key: found[key] for key in bounds} == bounds
    assert api.http.get("/v1/laws/aurora").json["constraint"] == "unit"
    assert api.http.get("/v1/laws/aurora").json["living"] is None
    record = [{"field": "rgb", "every": 1}]
    first = api.http.get(f"/v1/jobs/{api.submit(law='boxed', record=record)}").json
    assert first["spec"]["initial"] == {"kind": "random"}, "noise that fills the box, where none is named"
    noise = {"initial": {"kind": "complex_noise"}}
    answer = api.http.post("/v1/jobs", json=SPEC | {"law": "boxed", "record": record} | noise)
    refused(answer, 422, "complex_noise", "[0, 1]", "random", pointer="/initial/kind")
    for kind in ("seed", "random", "zeros"):
        job = api.submit(law="boxed", record=record, initial={"kind": kind})
        (array,) = [one for one in arrays_of(api.table.get(job)) if one.name == "rgb"]
        assert array.shape == (8, 12, 3)
        assert array.dims == ("y", "x", "colour")
    sweep = {"base": SPEC | {"law": "boxed"}, "axes": {"initial.kind": ["random", "complex_noise"]}}
    refused(api.http.post("/v1/sweeps", json=sweep), 422, "member 1", "complex_noise", pointer="/axes/initial.kind")
