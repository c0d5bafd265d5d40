"""The page's screens of many universes in a real browser: a sweep, a comparison, the laws, and who runs the service."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from leym.contract.records import Worker
from tests.support.browser import LIMIT_S
from tests.support.tab import PAINTED, Tab, tab

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with tab(tmp_path_factory.mktemp("browser")) as found:
        yield found


@pytest.fixture
def page(browser: Tab) -> Iterator[Tab]:
    """The browser's tab. No test may leave an error in its console."""
    browser.errors.clear()
    browser.size(1440, 900)
    yield browser
    assert browser.errors == []


@pytest.fixture(scope="module")
def sweep(service: Any) -> Any:
    return service.client.sweep(
        "tiny",
        {"initial.strength": [0.1, 1.0, 3.0]},
        gamma=[0, 0.2, 0.4, 0.6],
        seed=range(2),
        grid=16,
        steps=40,
        initial={"kind": "complex_noise"},
        record={"phase": 10, "activity": 10},
        observe=10,
    ).wait()


def painted(page: Tab, selector: str) -> int:
    return int(page.evaluate(f"({PAINTED})({selector!r})"))


def drag_over(page: Tab, left: float, top: float, right: float, bottom: float) -> None:
    """Drag over the heat map: shares of the canvas."""
    box = page.box("canvas.heat")

    def at(x: float, y: float) -> tuple[float, float]:
        return box["x"] + box["width"] * x, box["y"] + box["height"] * y

    page.drag(at(left, top), at(right, bottom))


def test_a_sweep_is_a_phase_diagram_whose_cells_open(service: Any, sweep: Any, page: Tab) -> None:
    page.open(f"{service.url}/#/sweeps/{sweep.id}")
    page.has("Sweep of tiny", "24 universes", "24 succeeded", "mean over seed")
    drag_over(page, 0.2, 0.1, 0.45, 0.4)
    page.has("activity over steps")
    page.wait(f"({PAINTED})('#selection canvas[data-member]') >= 2")
    page.wait("document.querySelector('#selection .chart canvas') !== null")
    assert page.evaluate("document.querySelectorAll('#selection canvas[data-member]').length") <= 9
    before = len(page.requests)
    page.evaluate("document.querySelector('#selection .timeline [aria-label=\"One frame back\"]').click()")
    page.wait("document.querySelector('#selection .timeline .step').innerText.includes('step 30')")
    page.wait("location.hash.includes('step=30')")
    asked = [url for url in page.requests[before:] if "/atlas" in url]
    assert len(asked) <= 1, "all players share one request"
    page.click("Thumbnails")
    page.wait("location.hash.includes('view=tiles')")
    page.has("Each cell shows the first of its universes")
    before = len(page.requests)
    page.click("One frame back", "document.querySelector('#diagram')")
    page.wait("location.hash.includes('step=20')")
    page.wait("performance.getEntriesByType('resource').filter((one) => one.name.includes('step=20')).length >= 2")
    asked = [url for url in page.requests[before:] if "/atlas" in url and "step=20" in url]
    assert len(asked) == 2, "thumbnails and players, a request each"
    assert page.audit() == []
    address = page.evaluate("location.href")
    page.open("about:blank")
    page.open(address)  # a reload, or an address that somebody was sent
    page.has("Each cell shows the first of its universes", "activity over steps")
    page.wait("document.querySelector('#diagram .timeline .step')?.innerText.includes('step 20')")


def test_the_diagram_follows_the_choices_and_the_table_its_filter(service: Any, sweep: Any, page: Tab) -> None:
    page.open(f"{service.url}/#/sweeps/{sweep.id}?x=gamma&y=seed&window=10,30&stat=sd")
    page.has("over the observed steps 10 to 30", "standard deviation over initial.strength")
    page.has("sd of activity")
    page.evaluate("document.querySelector('canvas.heat').focus()")
    for key in ("ArrowRight", "ArrowUp", "Enter"):
        page.key(key)
    page.has("gamma 0.2", "3 universes")
    page.fill("#table-filter", "gamma>0.5 seed=1")
    page.wait("document.querySelectorAll('#members tbody tr').length === 3")
    page.fill("#table-filter", "gama>0.5")
    page.has("'gama'")
    assert all("422" in error for error in page.errors), page.errors
    page.errors.clear()  # a browser notes each refusal
    page.click("Refine this region")
    page.wait("location.hash.startsWith('#/new')")


def test_a_sweep_that_waits_is_paused_and_cancelled(service: Any, page: Tab) -> None:
    waiting = service.client.sweep("tiny", seed=range(3), grid=16, steps=10**6, observe=10**4, priority=0)
    page.open(f"{service.url}/#/sweeps/{waiting.id}")
    page.click("Pause")
    page.has("paused", "Resume")
    page.click("Cancel")
    page.click("Cancel them")
    page.has("3 cancelled")


SHOWN = "[...document.querySelectorAll('.sides .stage')].filter(({dataset}) => dataset.step === '%d').length"
# what each stage shows, small: lists of numbers
PICTURES = """[...document.querySelectorAll('.sides .stage canvas')].map((shown) => {
  const copy = document.createElement('canvas');
  copy.width = copy.height = 24;
  const context = copy.getContext('2d');
  context.imageSmoothingEnabled = false;
  context.drawImage(shown, 0, 0, 24, 24);
  return [...context.getImageData(0, 0, 24, 24).data];
})"""


# ends when what was asked for before has been painted: new sizes at the first picture, their contents at the next
PAINTS = "(async () => { for (let i = 0; i < 4; i += 1) await new Promise(requestAnimationFrame); })()"


def has_changed(page: Tab, before: list[list[int]], *wanted: bool) -> None:
    """Wait until just these stages show another picture than before."""
    found, end = None, time.monotonic() + LIMIT_S
    while found != list(wanted):
        assert time.monotonic() < end, found
        found = [now != earlier for now, earlier in zip(page.evaluate(PICTURES), before, strict=True)]


def settled(page: Tab) -> list[list[int]]:
    """Return what each stage shows once the charts are there, which can change the width of the stages."""
    page.wait("[...document.querySelectorAll('#compare-charts .chart')].every((chart) => chart.childElementCount)")
    page.evaluate(PAINTS)
    return page.evaluate(PICTURES)  # type: ignore[no-any-return]


def test_universes_are_compared_on_one_clock(service: Any, sweep: Any, page: Tab) -> None:
    ids = [sweep.member(index).id for index in (0, 10, 23)]
    page.open(f"{service.url}/#/compare?ids={','.join(ids)}")
    page.has("Compare 3 universes", "gamma", "initial.strength", "seed")
    assert "grid" not in page.evaluate("document.querySelector('[aria-label=\"Keys that differ\"]').innerText")
    page.wait(f"{SHOWN % 40} === 3")
    page.key("d")
    page.has("rms")
    page.wait("document.querySelectorAll('#compare-charts canvas').length > 0")
    page.key("ArrowLeft")
    page.wait("location.hash.includes('step=30')")
    page.wait(f"{SHOWN % 30} === 3")
    assert page.audit() == []
    page.click("Remove universe C")
    page.has("Compare 2 universes")


def test_compared_universes_zoom_together_under_one_bar_of_colours(service: Any, sweep: Any, page: Tab) -> None:
    ids = [sweep.member(index).id for index in (0, 10, 23)]
    page.open(f"{service.url}/#/compare?ids={','.join(ids)}&field=phase&difference=0,1")
    page.wait(f"{SHOWN % 40} === 3")
    page.has("rms")
    assert page.evaluate("[...new Set([...document.querySelectorAll('.stage')].map((s) => s.dataset.kind))]") == [
        "webgl2"
    ]
    fitting = settled(page)
    page.wait(
        "document.querySelector('.sides .stage canvas')"
        ".dispatchEvent(new WheelEvent('wheel', {deltaY: -500, clientX: 300, clientY: 300, cancelable: true}))  || true"
    )
    has_changed(page, fitting, True, True, True, True)  # the difference too
    page.key("0")
    has_changed(page, fitting, False, False, False, False)

    page.fill("[aria-label='Upper limit of the colours']", "1")
    page.wait("location.hash.includes('high=')")
    has_changed(page, fitting, True, True, True, False)  # the difference has colours of its own
    limited, address = settled(page), page.evaluate("location.href")
    page.call("Page.reload")
    page.wait(f"{SHOWN % 40} === 3")
    page.has("rms")
    assert page.evaluate("location.href") == address
    has_changed(page, limited, False, False, False, False)
    assert page.audit() == []


def test_universes_are_compared_without_webgl(service: Any, sweep: Any, tmp_path: Path) -> None:
    ids = [sweep.member(index).id for index in (0, 10)]
    with tab(tmp_path / "plain", "--disable-3d-apis") as page:
        page.open(f"{service.url}/#/compare?ids={','.join(ids)}&difference=0,1&step=0&map=none")
        page.wait(f"{SHOWN % 0} === 2")
        page.has("rms")
        page.wait(f"({PAINTED})('.sides canvas') === 3")
        assert page.evaluate("[...document.querySelectorAll('.stage')].map((s) => s.dataset.kind)") == ["2d"] * 3
        assert [error for error in page.errors if "WebGL" not in error] == []


def test_laws_move_and_have_pages(service: Any, page: Tab) -> None:
    page.open(f"{service.url}/#/laws")
    page.has("hurricanes", "spirals with eyes", "nf4 pass")
    page.wait("[...document.querySelectorAll('.card img')].some((image) => image.naturalWidth > 0)")
    page.fill("#filter", "hurricanes")
    page.wait("document.querySelectorAll('.card').length === 1")
    assert page.audit() == []
    page.click("hurricanes")
    page.has("Verdicts", "0.88", "ginzburg_landau", "New universe with this law")
    assert page.audit() == []


def test_draw_24_keeps_the_good_ones_and_removes_the_others(service: Any, page: Tab) -> None:
    before = {law["ref"] for law in service.client.laws()}
    page.open(f"{service.url}/#/laws?view=draw&hidden=8&seed=500")
    page.click("Draw 24")
    page.wait("document.querySelectorAll('.wall canvas').length === 24")
    page.wait("location.hash.includes('sweep=')")
    page.key("k")
    page.key("ArrowRight")
    page.key("ArrowRight")
    page.key("k")
    page.has("Keep 2, remove 22")
    assert page.audit() == []
    page.click("Keep 2, remove 22")
    page.has("2 kept, 22 removed")
    drawn = [law for law in service.client.laws() if law["ref"] not in before]
    assert [law["name"].rpartition("-")[2] for law in drawn] == ["500", "502"]
    assert [law["temporary_until"] for law in drawn] == [None, None]


def test_links_open_a_universe_and_a_sweep_without_an_account(
    service: Any, sweep: Any, page: Tab, tmp_path: Path
) -> None:
    """The sweep is shared from its screen; the links are opened in browsers that have never been here."""
    page.open(f"{service.url}/#/sweeps/{sweep.id}")
    page.click("Share")
    page.has("without an account")
    link = page.evaluate("document.querySelector('dialog[open] pre').innerText")
    job = service.client.submit("tiny", (16, 16), 40, {"phase": 10}, observe=10, seed=3).wait(240)
    post = "{method: 'POST', body: '{}', headers: {'Content-Type': 'application/json'}}"
    universe = page.evaluate(
        f"fetch('v1/jobs/{job.id}/links', {post}).then((a) => a.json()).then((found) => found.page)"
    )
    with tab(tmp_path / "fresh") as visitor:
        visitor.open(f"{service.url}{universe}")
        visitor.has("a shared universe", "Citation", "Downloads", "observables.csv", "How it was computed")
        visitor.wait("document.querySelector('.stage canvas').width > 100")
        assert visitor.audit() == []
        visitor.open(link)
        visitor.has("Sweep of tiny", "24 universes", "Citation", "Downloads")
        assert "Refine this region" not in visitor.text()
        drag_over(visitor, 0.3, 0.2, 0.4, 0.3)
        visitor.wait(f"({PAINTED})('#selection canvas[data-member]') >= 1")
        assert visitor.audit() == []
        visitor.open(f"{service.url}/#/shared/nonsense")
        visitor.has("This link does not work")
        asked = {url.removeprefix(service.url).split("?")[0] for url in visitor.requests if "/v1/" in url}
        assert all(path.startswith("/v1/shared/") for path in asked), asked
        assert [error for error in visitor.errors if "403" not in error] == []


def test_a_dead_worker_is_loud(service: Any, page: Tab) -> None:
    service.table.heartbeat(Worker("gone@far", "far", 7, "cpu", "ready", slots=4, busy=2), time.time() - 60)
    try:
        page.open(f"{service.url}/#/operate")
        page.has("Worker gone@far fell silent", "lost", "default", "submitted", "worker0@")
        assert page.audit() == []
    finally:
        service.table.remove_worker("gone@far")


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_the_screens_fit_a_phone_in_both_themes(service: Any, sweep: Any, page: Tab, theme: str) -> None:
    page.size(390, 844, phone=True)
    service.client.submit("tiny", grid=8, steps=2, name="w" * 80)  # the newest universe of its law
    ids = f"{sweep.member(0).id},{sweep.member(1).id}"
    views = {
        f"/sweeps/{sweep.id}": "Members",
        "/laws": "Laws",
        "/laws/tiny": "Newest universes",
        f"/compare?ids={ids}": "What differs",
        "/operate": "Workers",
    }
    for path, text in views.items():
        page.open(f"{service.url}/#{path}")
        page.evaluate(f"document.documentElement.dataset.theme = {theme!r}")
        page.has(text)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, f"{path} is wider than the phone"
        assert page.audit() == [], path
