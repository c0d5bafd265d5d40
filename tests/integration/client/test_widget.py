"""The viewer of notebooks and saved pages in a real browser: pixels, zoom, limits, frames that come, keys."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest

from leym import viewer
from leym.client.panels import Panel, described
from leym.client.views import View
from tests.support.tab import Tab, tab

pytestmark = pytest.mark.browser

SIDE = 16
CODES = np.random.default_rng(2).permutation(256).astype(np.uint8).reshape(1, SIDE, SIDE)
LIMITS = (-math.pi, math.pi)
EMPTY = "<!doctype html><meta charset=utf-8><title>notebook</title><body>"
STAGE = ".stage canvas.viewer"
LOWER, UPPER = (f"input[aria-label='{which} limit of the colours']" for which in ("Lower", "Upper"))
# anywidget's side of the model, as its documentation describes it
START = """(async () => {
  const address = URL.createObjectURL(new Blob([SCRIPT], {type: 'text/javascript'}));
  const style = document.createElement('style');
  style.textContent = STYLE;
  const el = document.createElement('div');
  el.style.width = '600px';
  document.body.replaceChildren(style, el);
  const watchers = {};
  const values = VALUES;
  window.sent = [];
  window.model = {
    get: (key) => values[key],
    set: (key, value) => { values[key] = value; for (const watcher of watchers[`change:${key}`] ?? []) watcher(); },
    on: (name, watcher) => (watchers[name] ??= []).push(watcher),
    off: (name, watcher) => { watchers[name] = watchers[name].filter((one) => one !== watcher); },
    send: (message) => sent.push(message),
    left: () => Object.values(watchers).flat().length,
    receive: (places, texts) => { for (const watcher of watchers['msg:custom']) watcher({frames: places},
      texts.map((text) => new DataView(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer))); },
  };
  const widget = (await import(address)).default;
  window.stop = widget.render({model, el});
})()"""
PIXELS = """(async () => {
  for (let i = 0; i < 3; i++) await new Promise(requestAnimationFrame);
  return [...document.querySelectorAll('.stage canvas.viewer')].map((canvas) => {
    const copy = document.createElement('canvas');
    [copy.width, copy.height] = [canvas.width, canvas.height];
    const context = copy.getContext('2d');
    context.drawImage(canvas, 0, 0);
    const {data} = context.getImageData(0, 0, copy.width, copy.height);
    let text = '';
    for (let i = 0; i < data.length; i += 4096) text += String.fromCharCode(...data.subarray(i, i + 4096));
    return [canvas.width, canvas.height, btoa(text)];
  });
})()"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with tab(tmp_path_factory.mktemp("browser") / "profile") as found:
        yield found


def panel(frames: np.ndarray = CODES, title: str = "one", map: str | None = "twilight") -> Panel:
    return Panel(title, np.arange(0, 10 * len(frames), 10), frames, map, LIMITS, "rad")


@pytest.fixture
def notebook(browser: Tab, tmp_path: Path) -> Tab:
    (tmp_path / "notebook.html").write_text(EMPTY)
    browser.open(f"file://{tmp_path}/notebook.html")
    browser.wait("document.title === 'notebook' && document.readyState === 'complete'")
    browser.errors.clear()
    browser.requests.clear()
    return browser


def start(page: Tab, panels: list[Panel], live: bool = False) -> None:
    values = {"panels": [described(one) for one in panels], "fps": 12, "live": live}
    script = START.replace("VALUES", json.dumps(values)).replace("STYLE", json.dumps(viewer.style()))
    page.evaluate(script.replace("SCRIPT", json.dumps(viewer.script())))
    assert page.evaluate("sent") == [{"type": "ready"}]


def receive(page: Tab, places: list[list[int]], frames: list[np.ndarray]) -> None:
    texts = [base64.b64encode(frame.tobytes()).decode() for frame in frames]
    page.evaluate(f"model.receive({json.dumps(places)}, {json.dumps(texts)})")


def pixels(page: Tab) -> list[np.ndarray]:
    """What each canvas shows, uint8 [height, width, 3]."""
    found = page.evaluate(PIXELS)
    return [
        np.frombuffer(base64.b64decode(text), np.uint8).reshape(height, width, 4)[..., :3]
        for width, height, text in found
    ]


def cells(picture: np.ndarray, zoom: float = 1.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The pixel at the middle of each cell that is inside the canvas: colours [n, 3], y [n] and x [n]."""
    height, width = picture.shape[:2]
    scale = math.floor(min(height, width) / SIDE) * zoom
    middle = np.arange(SIDE) + 0.5 - SIDE / 2
    y, x = np.meshgrid(height / 2 + middle * scale, width / 2 + middle * scale, indexing="ij")
    inside = (y >= 1) & (x >= 1) & (y < height - 1) & (x < width - 1)
    return picture[y[inside].astype(int), x[inside].astype(int)].astype(int), *np.nonzero(inside)


def expected(codes: np.ndarray, map: str = "twilight", low: float = 0.0, high: float = 1.0) -> np.ndarray:
    """matplotlib's colours of codes between limits, as shares of the whole range."""
    share = np.clip((codes / 255 - low) / (high - low), 0, 1) * (1 - 1e-9)
    table = np.rint(mpl.colormaps[map](np.linspace(0, 1, 256))[:, :3] * 255).astype(int)
    return np.asarray(table[np.floor(share * 256).astype(int)])


def test_every_code_has_its_colour_and_zoom_and_limits_work(notebook: Tab) -> None:
    start(notebook, [panel()])
    receive(notebook, [[0, 0]], [CODES[0]])
    notebook.wait("document.querySelector('.stage').dataset.step === '0'")
    assert notebook.evaluate("document.querySelector('.stage').dataset.kind") == "webgl2"
    colours, y, x = cells(pixels(notebook)[0])
    assert len(colours) == 256
    np.testing.assert_array_equal(colours, expected(CODES[0, y, x]))

    box = notebook.box(STAGE)
    middle = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
    wheel = {"type": "mouseWheel", "deltaX": 0, "deltaY": -400 * math.log(2)}  # twice as large
    notebook.call("Input.dispatchMouseEvent", **wheel, **middle)
    notebook.wait(f"({PIXELS}).then(([[, , text]]) => text !== window.before && (window.before = text))")
    colours, y, x = cells(pixels(notebook)[0], zoom=2)
    assert len(colours) == 64
    np.testing.assert_array_equal(colours, expected(CODES[0, y, x]))
    notebook.evaluate("document.querySelector('.leym').focus()")
    notebook.key("0")
    assert len(cells(pixels(notebook)[0])[0]) == 256

    notebook.fill("select[aria-label='Colour map']", "magma")
    notebook.fill(LOWER, str(-math.pi / 2))
    notebook.fill(UPPER, str(math.pi / 2))
    low, high = (
        (notebook.evaluate(f'document.querySelector("{one}").valueAsNumber') + math.pi) / (2 * math.pi)
        for one in (LOWER, UPPER)
    )
    assert (low, high) == pytest.approx((0.25, 0.75), abs=0.002)
    colours, y, x = cells(pixels(notebook)[0])
    wanted = expected(CODES[0, y, x], "magma", low, high)
    assert np.abs(colours - wanted).max() <= 8  # float32 may find the row beside it
    assert (colours == wanted).all(axis=-1).mean() > 0.9

    middling = CODES[0].clip(64, 191)
    receive(notebook, [[0, 10]], [middling])
    notebook.click("Auto")
    colours, y, x = cells(pixels(notebook)[0])
    for code, row in ((64, 0), (191, 255)):
        assert np.abs(colours[middling[y, x] == code] - expected(np.array([row]), "magma")).max() <= 8
    notebook.click("Full")
    colours, y, x = cells(pixels(notebook)[0])
    np.testing.assert_array_equal(colours, expected(middling[y, x], "magma"))
    assert notebook.errors == []


def test_frames_that_come_are_followed_until_a_person_looks_at_another_step(notebook: Tab) -> None:
    frames = np.stack([np.full((SIDE, SIDE), code, np.uint8) for code in (10, 90, 200)])
    start(notebook, [panel(), panel(title="two")], live=True)
    receive(notebook, [[0, 0], [1, 0], [0, 10]], [frames[0], frames[0], frames[1]])
    shown = "[...document.querySelectorAll('.stage')].map((one) => one.dataset.step).join()"
    assert notebook.evaluate(shown) == "10,0"
    one, two = (picture[len(picture) // 2, picture.shape[1] // 2] for picture in pixels(notebook))
    assert (one == expected(frames[1])[0, 0]).all()
    assert (two == expected(frames[0])[0, 0]).all()
    notebook.fill("input[aria-label=Step]", "0")
    receive(notebook, [[0, 20]], [frames[2]])
    assert notebook.evaluate(shown) == "0,0"
    notebook.click("Live")
    assert notebook.evaluate(shown) == "20,0"
    notebook.evaluate("model.set('live', false)")
    notebook.wait("![...document.querySelectorAll('button')].some((one) => one.innerText === 'Live')")
    notebook.evaluate("stop()")
    assert notebook.evaluate("[model.left(), document.querySelectorAll('.leym').length]") == [0, 0]
    assert notebook.errors == []


def test_a_view_whose_context_the_browser_takes_is_drawn_without_it(notebook: Tab) -> None:
    start(notebook, [panel()])
    receive(notebook, [[0, 0]], [CODES[0]])
    before = pixels(notebook)[0]
    lose = f"document.querySelector('{STAGE}').getContext('webgl2').getExtension('WEBGL_lose_context').loseContext()"
    notebook.evaluate(f"window.lost = document.querySelector('{STAGE}'); {lose}")
    notebook.wait(f"document.querySelector('{STAGE}') !== lost")
    np.testing.assert_array_equal(cells(pixels(notebook)[0])[0], cells(before)[0])
    notebook.evaluate(f"document.querySelector('{STAGE}').dispatchEvent(new WheelEvent('wheel', {{deltaY: -100}}))")
    assert (pixels(notebook)[0] != before).any()


def test_the_saved_page_plays_all_universes_and_asks_for_nothing(browser: Tab, tmp_path: Path) -> None:
    title = "</script><!--<script>window.broken = 1</script>"
    several = np.stack([np.roll(CODES[0], i, axis=1) for i in range(4)])
    colours = np.random.default_rng(3).integers(0, 256, (4, SIDE, SIDE, 3), np.uint8)
    view = View([*(panel(several, f"{i} {title}") for i in range(5)), panel(colours, "rgb", None)], fps=30)
    saved = view.save(tmp_path / "six.html")
    browser.errors.clear()
    browser.requests.clear()
    browser.open(f"file://{saved}")
    browser.wait("document.querySelectorAll('.stage[data-step]').length === 6")
    browser.wait("document.querySelector('.stage').dataset.step === '20'")
    browser.click("Pause")
    browser.fill("input[aria-label=Step]", "10")
    browser.wait("[...document.querySelectorAll('.stage')].every((one) => one.dataset.step === '10')")
    found = pixels(browser)
    assert [len(found), browser.evaluate("document.querySelector('.stage').dataset.kind")] == [6, "2d"]
    for one, picture in zip(view.panels, found, strict=True):
        shown, y, x = cells(picture)
        np.testing.assert_array_equal(shown, one.colours(10)[y, x])
    assert browser.text().count(title) == 5
    assert browser.evaluate("window.broken") is None
    assert [address for address in browser.requests if not address.startswith(("file:", "data:"))] == []
    assert browser.errors == []
    assert browser.audit() == []


def test_people_without_a_mouse_and_with_a_screen_reader(notebook: Tab) -> None:
    several = np.stack([CODES[0]] * 3)
    start(notebook, [panel(several)])
    receive(notebook, [[0, 0], [0, 10], [0, 20]], list(several))
    notebook.evaluate("document.querySelector('.leym').focus()")
    for key, step in (("ArrowLeft", "10"), ("Home", "0"), ("ArrowRight", "10"), ("End", "20")):
        notebook.key(key)
        assert notebook.evaluate("document.querySelector('.stage').dataset.step") == step, key
    found: Any = [one for one in notebook.audit() if not one.startswith(("document-title", "html-has-lang"))]
    assert found == []
