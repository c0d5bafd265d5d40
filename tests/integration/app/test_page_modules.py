"""The page's modules without its screens, in a real browser: numbers, colours, filters, typed values, forks."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Iterator
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest

from leym import viewer
from leym.client.typical import typical
from tests.support.api import reachable
from tests.support.paths import ROOT
from tests.support.tab import Tab, tab

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    folder = tmp_path_factory.mktemp("page")
    with reachable(folder / "data") as api, tab(folder / "browser") as found:
        found.open(f"{api.url}/docs")  # a document of the same origin, without the page's own scripts
        found.call("Page.setBypassCSP", enabled=True)
        found.open(f"{api.url}/healthz")
        found.wait("document.readyState === 'complete'")
        yield found


def run(page: Tab, module: str, expression: str) -> Any:
    """The value of an expression in which `m` is a module of the page."""
    return page.evaluate(f"import(new URL('/static/js/{module}.js', location)).then((m) => ({expression}))")


def refused(page: Tab, module: str, expression: str) -> str:
    return str(run(page, module, f"(() => {{ try {{ {expression}; return '' }} catch (e) {{ return e.message }} }})()"))


@pytest.mark.parametrize("dtype", ["float16", "float32", "complex64"])
def test_npy_files_are_decoded_to_the_numbers_that_numpy_wrote(page: Tab, dtype: str) -> None:
    rng = np.random.default_rng(1)
    wanted = rng.normal(size=(3, 4, 5)).astype(dtype)
    wanted.flat[:4] = [0, np.inf, -6e-8, 65504]
    file = io.BytesIO()
    np.save(file, wanted)
    text = base64.b64encode(file.getvalue()).decode()
    bytes_of = f"Uint8Array.from(atob('{text}'), (c) => c.charCodeAt(0)).buffer"
    found = run(page, "frames", f"(({{shape, data, complex}}) => [shape, [...data].map(String), complex])"
                                f"(m.decodeNpy({bytes_of}))")  # fmt: skip
    assert found[0] == [3, 4, 5]
    assert found[2] == (dtype == "complex64")
    flat = wanted.view(np.float32) if dtype == "complex64" else wanted
    assert np.array_equal(np.array(found[1], np.float64), flat.astype(np.float64).ravel())


def test_the_shader_and_the_fallback_show_the_colours_of_matplotlib(page: Tab) -> None:
    """Six cells, one of them NaN: each canvas has 12 x 8 pixels, so a cell has 4 x 4."""
    values = [-3.0, -1.5, 0.0, 1.0, 3.1, float("nan")]
    cells = json.dumps(values).replace("NaN", "0/0")
    script = f"""(async () => {{
      const found = {{}};
      for (const force2d of [false, true]) {{
        const box = document.createElement('div');
        box.style.cssText = 'width:12px;height:8px;position:relative';
        document.body.append(box);
        const viewer = m.mountViewer(box, {{ map: 'twilight', range: [-Math.PI, Math.PI], force2d }});
        viewer.canvas.style.cssText = 'position:absolute;width:100%;height:100%';
        viewer.show({{ data: new Float32Array({cells}), height: 2, width: 3, rgb: false }});
        for (let i = 0; i < 4; i++) await new Promise(requestAnimationFrame);
        const copy = document.createElement('canvas');
        copy.width = 12; copy.height = 8;
        const context = copy.getContext('2d');
        context.drawImage(viewer.canvas, 0, 0);
        const colour = (x, y) => [...context.getImageData(4 * x + 2, 4 * y + 2, 1, 1).data].slice(0, 3);
        found[viewer.kind] = [0, 1].flatMap((y) => [0, 1, 2].map((x) => colour(x, y)));
        viewer.destroy();
      }}
      return found;
    }})()"""
    found = run(page, "viewer", script)
    assert sorted(found) == ["2d", "webgl2"]
    rows = np.floor((np.array(values[:5]) + np.pi) / (2 * np.pi) * 256).astype(int) / 255
    wanted = np.rint(mpl.colormaps["twilight"](rows)[:, :3] * 255)
    for kind in found:
        assert np.abs(np.array(found[kind][:5]) - wanted).max() <= 3, kind  # a row next to it, at most
        assert np.abs(np.array(found[kind][5]) - 128).max() <= 1, kind


@pytest.mark.parametrize(
    ("view", "covered"),
    [
        ("", 36 * 27),
        ("viewer.zoom(1 / 3, 24, 12)", 12 * 9),
        ("viewer.zoom(2, 24, 12)", 48 * 27),
        ("viewer.pan(9, -5)", 33 * 22),
        ("viewer.setTiles(3)", 36 * 27),
    ],
)
def test_the_shader_and_the_fallback_show_the_same_part_of_a_universe(page: Tab, view: str, covered: int) -> None:
    """A universe of 4 x 3 cells in a canvas of 48 x 27 pixels: ground beside it, cut off by edges, tiled."""
    script = f"""(async () => {{
      const found = {{}};
      for (const force2d of [false, true]) {{
        const box = document.createElement('div');
        box.style.cssText = 'width:48px;height:27px;position:relative;background:rgb(0 102 204)';
        document.body.append(box);
        const viewer = m.mountViewer(box, {{ map: 'gray', range: [0, 11], force2d }});
        viewer.canvas.style.cssText = 'position:absolute;width:100%;height:100%';
        viewer.show({{ data: Float32Array.from({{ length: 12 }}, (_, i) => i), height: 3, width: 4, rgb: false }});
        for (let i = 0; i < 3; i++) await new Promise(requestAnimationFrame);
        {view};
        for (let i = 0; i < 3; i++) await new Promise(requestAnimationFrame);
        const copy = document.createElement('canvas');
        copy.width = 48; copy.height = 27;
        const context = copy.getContext('2d');
        context.drawImage(viewer.canvas, 0, 0);
        found[viewer.kind] = [...context.getImageData(0, 0, 48, 27).data];
        viewer.destroy();
        box.remove();
      }}
      return found;
    }})()"""
    found = run(page, "viewer", script)
    shader, plain = (np.reshape(found[kind], (27, 48, 4))[..., :3].astype(int) for kind in ("webgl2", "2d"))
    assert np.abs(shader - plain).max() <= 3
    assert (np.abs(shader - [0, 102, 204]).max(-1) > 1).sum() == covered


JOBS = [
    {"id": "a", "law": "spirals@1", "state": "running", "spec": {"gamma": 0.02, "grid": [64, 64], "initial": {"kind": "smooth"}}, "observables": {"activity": 0.5}, "tags": {"project": "x"}, "starred": True},  # noqa: E501
    {"id": "b", "law": "embers@2", "state": "failed", "spec": {"gamma": [[0, 0.3]], "grid": [32, 32], "initial": {"kind": "seed"}}, "observables": None, "tags": {}, "name": "odd one"},  # noqa: E501
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "ab"),
        ("law:spirals", "a"),
        ("-law:spirals", "b"),
        ("gamma>0.1", "b"),
        ("gamma<=0.02", "a"),
        ("activity>=0.5", "a"),
        ("activity<9", "a"),
        ("failed", "b"),
        ("tag:project=x", "a"),
        ("tag:project=y", ""),
        ("project:x", "a"),
        ('"odd one"', "b"),
        ("starred", "a"),
        ("-starred", "b"),
        ("grid=32", "b"),
        ("initial:smooth state:running", "a"),
        ("initial:smooth state:failed", ""),
    ],
)
def test_the_filter_language(page: Tab, text: str, found: str) -> None:
    expression = (
        f"{json.dumps(JOBS)}.filter((job) => m.matches(job, m.read({json.dumps(text)}))).map((job) => job.id).join('')"
    )
    assert run(page, "wall/filter", expression) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("0.01", {"value": 0.01}),
        ("0.01, 2e-3", {"axis": [0.01, 0.002]}),
        ("0..0.1 x 5", {"axis": {"linspace": [0, 0.1, 5]}}),
        ("log 0.001..0.1 x 3", {"axis": {"logspace": [0.001, 0.1, 3]}}),
        ("2..5", {"axis": [2, 3, 4, 5]}),
        ("0.5, 100: 0.7", {"value": [[0, 0.5], [100, 0.7]]}),
        ("9007199254740993", {"value": "#9007199254740993"}),
    ],
)
def test_values_are_read_as_they_are_typed_and_written_so_that_they_can_be_read(
    page: Tab, text: str, found: Any
) -> None:
    assert run(page, "newuniverse/values", f"m.readGammas({json.dumps(text)})") == found
    if ":" not in text:
        once = f"m.writeValues((({{value, axis}}) => value ?? axis)(m.readGammas({json.dumps(text)})))"
        assert run(page, "newuniverse/values", f"m.readGammas({once})") == found


@pytest.mark.parametrize("text", ["", "x", "0.1 0.2", "0..0.1", "1..2 x", "500: 0.1, 3"])
def test_what_is_no_value_is_refused_with_the_key(page: Tab, text: str) -> None:
    assert refused(page, "newuniverse/values", f"m.readGammas({json.dumps(text)})").startswith("gamma")


SPEC = {
    "law": "l",
    "grid": [8, 8],
    "steps": 100,
    "gamma": 0.01,
    "initial": {"kind": "seed"},
    "interventions": [{"kind": "noise", "strength": 1, "step": 30}, {"kind": "noise", "strength": 1, "step": 70}],
}
JOB = {"id": "j", "law": "l@1", "precision": "fp32", "steps": 100, "spec": SPEC}
STATES = [{"step": 20}, {"step": 60}]


def fork(page: Tab, step: int, changes: dict[str, Any], states: Any = STATES, **spec: Any) -> Any:
    arguments = ", ".join(map(json.dumps, (JOB | {"spec": SPEC | spec}, states, step, changes)))
    return run(page, "universe/steering", f"m.forkRequest({arguments})")


def test_a_fork_at_a_kept_step_has_the_new_gamma(page: Tab) -> None:
    assert fork(page, 60, {"gamma": 0.2}) == {
        "path": "v1/jobs/j/fork",
        "body": {"gamma": 0.2, "step": 60, "steps": 100},
        "from": 60,
    }


def test_a_fork_between_kept_steps_changes_only_from_its_step_on(page: Tab) -> None:
    assert fork(page, 65, {"gamma": 0.2})["body"] == {"gamma": [[0, 0.01], [65, 0.2]], "step": 60, "steps": 100}


def test_strokes_join_the_changes_that_are_still_to_come(page: Tab) -> None:
    body = fork(page, 65, {"strokes": [{"kind": "vortex", "y": 1, "x": 1, "radius": 2}]})["body"]
    assert [(one["kind"], one["step"]) for one in body["interventions"]] == [("noise", 70), ("vortex", 65)]


def test_without_a_kept_state_before_it_the_universe_is_computed_again(page: Tab) -> None:
    found = fork(page, 10, {"gamma": 0.2, "steps": 50})
    assert found["path"] == "v1/jobs"
    assert found["body"] == SPEC | {
        "law": "l@1",
        "precision": "fp32",
        "steps": 50,
        "gamma": [[0, 0.01], [10, 0.2]],
        "interventions": SPEC["interventions"][:1],
    }


def test_a_continued_universe_is_then_computed_again_from_the_state_that_it_goes_on_from(page: Tab) -> None:
    start = {"kind": "continue", "job": "p", "step": 40}
    found = fork(page, 50, {"gamma": 0.2}, states=[], initial=start)
    assert found["path"] == "v1/jobs/p/fork"
    assert found["body"]["step"] == found["from"] == 40
    assert found["body"]["gamma"] == [[0, 0.01], [50, 0.2]]
    assert "initial" not in found["body"]


def test_the_page_sends_the_modules_of_the_viewer_beside_its_own(page: Tab) -> None:
    files = [path for path in viewer.STATIC.rglob("*") if path.is_file()]
    assert {"viewer.js", "colormaps.js", "player.js", "colourbar.js", "viewer.css", "lit-html.js"} <= {
        p.name for p in files
    }
    for path in files:
        name = path.relative_to(viewer.STATIC).as_posix()
        assert page.evaluate(f"fetch('/static/{name}').then((found) => found.text())") == path.read_text(), name
        assert not (ROOT / "app/static" / name).exists(), f"{name} is in two places"


def test_the_typical_members_are_those_of_the_client(page: Tab) -> None:
    rng = np.random.default_rng(5)
    values = np.concatenate([rng.normal(centre, 0.1, (9, 3)) for centre in (0, 2, 5, 9)])
    rows = [dict[str, Any](zip("abc", map(float, row), strict=True)) for row in values]
    rows[4]["b"] = None  # has not observed it
    for count in (1, 4, 6):
        found = run(page, "sweep/typical", f"m.typical({json.dumps(rows)}, ['a', 'b', 'c'], {count})")
        assert found == typical(rows, ["a", "b", "c"], count)
    assert run(page, "sweep/typical", "m.typical([{}], ['a'], 6)") == []


def first_step(page: Tab, own: list[int], *earlier: list[int] | None) -> int:
    def steps(start: int, stop: int, stride: int) -> dict[str, int]:
        return {"start": start, "stop": stop, "stride": stride}

    before = [one and {"items": [{"name": "phase", "steps": steps(*one)}]} for one in earlier]
    found = run(page, "frames", f"m.firstStep('phase', {json.dumps(steps(*own))}, {json.dumps(before)})")
    return int(found)


def test_a_timeline_begins_with_the_earlier_jobs_as_far_as_their_frames_fit(page: Tab) -> None:
    assert first_step(page, [44, 104, 4], [24, 44, 4], [0, 40, 4]) == 0
    assert first_step(page, [44, 44, 4], [0, 80, 4]) == 0, "before its own first frame"
    assert first_step(page, [44, 104, 4], [24, 44, 4], [0, 20, 4]) == 24, "a gap"
    assert first_step(page, [44, 104, 4], [0, 45, 5]) == 44, "another stride"
    assert first_step(page, [44, 104, 4], None, [0, 44, 4]) == 44, "deleted"
    assert first_step(page, [44, 104, 4]) == 44


def test_the_page_asks_below_where_it_is() -> None:
    files = [path for folder in (ROOT / "app/static", viewer.STATIC) for path in folder.rglob("*")]
    own = [path for path in files if path.suffix in (".html", ".js", ".css")]
    for path in own:  # "/new" and the like are parts of the hash
        assert not re.search(r"""["'`(]/(?:v1|static|docs|openapi|metrics)\b""", path.read_text()), path
