"""Views, histograms and cells over HTTP are computed from what was recorded."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

from leym.contract.spec import LIMITS
from leym.frames import pictures, views
from tests.support.api import Api, done, opened, value

PSI = [{"field": "psi", "every": 10}]
PARTS = [{"field": "phase", "every": 4}, {"field": "density", "every": 6}]


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with opened(tmp_path_factory.mktemp("api")) as found:
        yield found


@pytest.fixture(scope="module")
def of_psi(api: Api) -> str:
    return done(api, record=PSI)


@pytest.fixture(scope="module")
def of_parts(api: Api) -> str:
    return done(api, record=PARTS)


def psi(step: int) -> Any:
    return value("psi", step, (8, 12, 4), "complex64")


def arrays(api: Api, path: str) -> Any:
    answer = api.http.get(path)
    assert answer.status_code == 200, answer.text
    return np.load(io.BytesIO(answer.data))


@pytest.mark.parametrize("name", ["real", "imag", "gradient", "spectrum"])
def test_a_view_of_psi_is_computed_from_its_frames(api: Api, of_psi: str, name: str) -> None:
    found = arrays(api, f"/v1/jobs/{of_psi}/frames/{name}?start=10&format=npz")
    assert found["step"].tolist() == [10, 20, 30]
    expected = np.stack([getattr(views, name)(psi(step)) for step in (10, 20, 30)])
    assert np.array_equal(found[name], expected)
    assert json.loads(found["attributes"].item())["made_from"] == ["psi"]
    strided = np.load(io.BytesIO(api.http.get(f"/v1/jobs/{of_psi}/frames/{name}?stride=2&format=npy").data))
    assert np.array_equal(strided[1], expected[1])
    assert len(strided) == 2


def test_the_list_of_fields_says_what_can_be_computed(api: Api, of_psi: str, of_parts: str) -> None:
    listed = api.http.get(f"/v1/jobs/{of_psi}/frames").json
    assert [field["name"] for field in listed["items"]] == ["psi"]
    assert [view["name"] for view in listed["views"]] == ["real", "imag", "gradient", "spectrum", "hsv", "pca"]
    for view in listed["views"]:
        found = arrays(api, f"/v1/jobs/{of_psi}/frames/{view['name']}")
        assert list(found[view["name"]].shape) == view["shape"]
        assert found[view["name"]].dtype == view["dtype"]
        assert found["step"].tolist() == list(range(*view["steps"].values()))
        assert view["made_from"] == ["psi"]
        assert len(view["dims"]) == len(view["shape"])
        assert np.isfinite(found[view["name"]]).all()
    (view,) = api.http.get(f"/v1/jobs/{of_parts}/frames").json["views"]
    assert (view["name"], view["made_from"]) == ("hsv", ["phase", "density"])
    assert list(range(*view["steps"].values())) == [0, 12, 24], "steps at which both are recorded"
    assert api.http.get(f"/v1/jobs/{done(api, record=[])}/frames").json == {"items": [], "views": []}


def test_phase_as_hue_from_psi_or_from_phase_and_density(api: Api, of_psi: str, of_parts: str) -> None:
    found = arrays(api, f"/v1/jobs/{of_psi}/frames/hsv?start=20&stop=21")["hsv"]
    assert np.array_equal(found[0], views.hsv(views.mean_phase(psi(20)), views.density(psi(20))))
    found = arrays(api, f"/v1/jobs/{of_parts}/frames/hsv?last=2")
    assert found["step"].tolist() == [12, 24]
    for step, frame in zip(found["step"].tolist(), found["hsv"], strict=True):
        phase, density = (value(name, step, (8, 12), "float32") for name in ("phase", "density"))
        assert np.array_equal(frame, views.hsv(phase, density))


def test_colours_of_components_are_one_scale_for_all_selected_frames(api: Api, of_psi: str) -> None:
    steps = [0, 10, 20, 30]
    components = views.principal_components(map(psi, steps))
    found = arrays(api, f"/v1/jobs/{of_psi}/frames/pca")["pca"]
    assert np.array_equal(found, np.stack([views.pca(psi(step), components) for step in steps]))
    picture = api.http.get(f"/v1/jobs/{of_psi}/frames/pca?format=png&last=1&scale=1")
    alone = views.pca(psi(30), views.principal_components([psi(30)]))
    shown = np.asarray(Image.open(io.BytesIO(picture.data)).convert("RGB"))
    assert np.array_equal(shown, pictures.render("pca", alone[None])[0])


@pytest.mark.parametrize("format", ["png", "gif", "webp"])
def test_views_are_pictures_too(api: Api, of_psi: str, format: str) -> None:
    for name in ("real", "spectrum", "hsv"):
        answer = api.http.get(f"/v1/jobs/{of_psi}/frames/{name}?format={format}&channel=1")
        assert answer.status_code == (200 if name == "real" else 422), answer.text
        answer = api.http.get(f"/v1/jobs/{of_psi}/frames/{name}?format={format}")
        assert answer.mimetype == f"image/{format}"


def test_a_histogram_in_every_format(api: Api, of_psi: str, of_parts: str) -> None:
    at = f"/v1/jobs/{of_parts}/frames/phase/histogram?bins=8&start=4&stop=13"
    body = api.http.get(at).json
    assert (body["field"], body["units"], body["step"]) == ("phase", "rad", [4, 8, 12])
    assert np.allclose(body["edges"], np.linspace(-np.pi, np.pi, 9))
    for step, counts, outside in zip(body["step"], body["counts"], body["outside"], strict=True):
        expected, _ = np.histogram(value("phase", step, (8, 12), "float32"), 8, (-np.pi, np.pi))
        assert counts == expected.tolist()
        assert outside == 0
    assert all(0 < ratio < 1 for ratio in body["compression"])
    rows = list(csv.DictReader(io.StringIO(api.http.get(f"{at}&format=csv").text)))
    assert [[int(row[f"count_{i}"]) for i in range(8)] for row in rows] == body["counts"]
    found = arrays(api, f"{at}&format=npz")
    assert found["counts"].tolist() == body["counts"]
    assert found["edges"].tolist() == body["edges"]
    assert found["compression"].tolist() == body["compression"]
    body = api.http.get(f"/v1/jobs/{of_psi}/frames/real/histogram?channel=2&last=1&low=0&high=0.5&bins=4").json
    expected, _ = np.histogram(psi(30).real[..., 2], 4, (0, 0.5))
    assert body["counts"] == [expected.tolist()]
    assert body["outside"] == [96 - int(expected.sum())]


def test_a_cell_in_every_format(api: Api, of_psi: str, of_parts: str) -> None:
    at, steps = f"/v1/jobs/{of_psi}/cells/7/11", [0, 10, 20, 30]
    cell = np.stack([psi(step)[7, 11] for step in steps])
    body = api.http.get(at).json
    assert list(body) == ["step", *(f"{part}_{c}" for c in range(4) for part in ("re", "im"))]
    assert body["step"] == steps
    for c in range(4):
        assert np.array_equal(np.float32(body[f"re_{c}"]) + 1j * np.float32(body[f"im_{c}"]), cell[:, c])
    (row,) = csv.DictReader(io.StringIO(api.http.get(f"{at}?format=csv&last=1").text))
    assert np.float32(row["im_3"]) == cell[-1, 3].imag
    found = arrays(api, f"{at}?format=npz&start=5&stop=25")
    assert found["step"].tolist() == [10, 20]
    assert np.array_equal(found["re_1"], cell[1:3, 1].real)
    assert json.loads(found["attributes"].item())["y"] == 7
    gradient = api.http.get(f"{at}?field=gradient").json
    assert np.allclose(gradient["gradient"], [views.gradient(psi(step))[7, 11] for step in steps])
    assert list(api.http.get(f"{at}?field=pca&last=1").json) == ["step", "pca_0", "pca_1", "pca_2"]
    assert list(api.http.get(f"/v1/jobs/{of_parts}/cells/0/0?field=phase").json) == ["step", "phase"]


def test_a_view_of_large_frames_is_refused_with_the_bound(
    api: Api, of_psi: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LIMITS, "view_bytes", 8 * 12 * 4 * 8 - 1)
    for path in ("frames/hsv", "frames/hsv?format=png", "cells/0/0?field=gradient", "frames/real/histogram"):
        answer = api.http.get(f"/v1/jobs/{of_psi}/{path}")
        assert answer.status_code == 422, answer.text
        assert "3072 bytes a step; at most 3071: read psi instead" in answer.json["detail"]
    assert api.http.get(f"/v1/jobs/{of_psi}/cells/0/0").status_code == 200


def test_what_cannot_be_computed_is_refused(api: Api, of_psi: str, of_parts: str) -> None:
    for job, path, status, named in [
        (of_parts, "frames/spectrum", 404, "needs psi; this job records: phase, density"),
        (of_parts, "cells/0/0", 404, "this job records: phase, density"),
        (of_psi, "cells/8/0", 404, "y = 8: the grid has y from 0 to 7"),
        (of_psi, "cells/0/12", 404, "x = 12"),
        (of_psi, "cells/-1/0", 422, "y"),
        (of_psi, "frames/psi/histogram", 422, "complex"),
        (of_psi, "frames/real/histogram?channel=4", 422, "channels 0 to 3"),
        (of_psi, "frames/gradient/histogram?channel=0", 422, "no channels"),
        (of_psi, "frames/gradient/histogram?low=1&high=1", 422, "low must be below high"),
        (of_psi, "frames/gradient/histogram?bins=257", 422, "bins"),
        (of_psi, "frames/hsv?format=png&stop=0", 404, "no committed frames"),
        (of_parts, "frames/mood", 404, "mood"),
    ]:
        answer = api.http.get(f"/v1/jobs/{job}/{path}")
        assert answer.status_code == status, answer.text
        assert named in answer.json["detail"], answer.text
    running = api.submit(record=PSI)
    assert arrays(api, f"/v1/jobs/{running}/frames/pca")["pca"].shape == (0, 8, 12, 3)
    assert api.http.get(f"/v1/jobs/{running}/cells/0/0").json["step"] == []
    assert api.http.get(f"/v1/jobs/{running}/frames/real/histogram").json["counts"] == []
