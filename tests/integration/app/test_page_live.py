"""The page in a real browser: the first visit, a wall of running universes, a service that goes away."""

from __future__ import annotations

import base64
import hashlib
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from werkzeug.serving import make_server

from app import many_events
from tests.support.api import Api, Pretender, done, opened, reachable
from tests.support.tab import tab

pytestmark = pytest.mark.browser
FIRST_BYTES = 150_000  # of the page, before the first picture
WALL = 48


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    monkeypatch.setattr(many_events, "POLL_S", 0.02)
    with reachable(tmp_path / "data") as found:
        yield found


def counted(api: Api) -> Counter[str]:
    """Count the requests from now on, by path."""
    requests: Counter[str] = Counter()
    lock, app = threading.Lock(), api.app.wsgi_app

    def watched(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        with lock:
            requests[environ["PATH_INFO"]] += 1
        return app(environ, start_response)

    api.app.wsgi_app = watched  # type: ignore[method-assign]
    return requests


def test_at_the_first_visit_the_zoo_plays(api: Api, tmp_path: Path) -> None:
    with tab(tmp_path / "browser") as page:
        page.open(f"{api.url}/")
        page.has("New universe", "Nothing runs here yet")
        page.wait("[...document.querySelectorAll('.zoo img')].some((image) => image.complete && image.naturalWidth)")
        sizes = page.evaluate(
            "performance.getEntriesByType('resource').filter(({name}) => /\\.(js|css)(\\?|$)/.test(name))"
            ".concat(performance.getEntriesByType('navigation'))"  # the document has the style in it
            ".map(({encodedBodySize}) => encodedBodySize)"
        )
        assert len(sizes) > 5
        assert sum(sizes) < FIRST_BYTES
        for theme in ("dark", "light"):
            page.evaluate(f"document.documentElement.dataset.theme = '{theme}'")
            assert page.audit() == []
        assert page.evaluate("getComputedStyle(document.querySelector('#top')).position") == "sticky"
        page.key("n")
        page.wait("location.hash.startsWith('#/new')")
        assert page.errors == []
        page.evaluate("document.head.insertAdjacentHTML('beforeend', '<style>#top { position: fixed; }</style>')")
        assert page.evaluate("getComputedStyle(document.querySelector('#top')).position") == "sticky"
        page.wait("true")
        assert len(page.errors) == 1
        assert "Content Security Policy" in page.errors[0], "another style in the document is refused"
        assert all(request.startswith((api.url, "data:")) for request in page.requests), "nothing from elsewhere"


def test_the_page_carries_its_style_and_its_policy_names_exactly_that_one(api: Api) -> None:
    page = api.http.get("/")
    [style] = re.findall(r"<style>(.*?)</style>", page.text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    rules = dict(rule.strip().split(" ", 1) for rule in page.headers["Content-Security-Policy"].split(";"))
    assert "--ground:" in style
    assert rules["style-src"] == f"'self' 'sha256-{digest}'"
    assert 'rel="stylesheet"' not in page.text, "a sheet that the first paint would wait for"


def test_a_wall_of_running_universes_asks_for_all_of_them_at_once(api: Api, tmp_path: Path) -> None:
    """Counts requests for each request for pictures, of which there is one a second."""
    workers = [Pretender(api, api.submit(seed=seed)) for seed in range(WALL)]
    for worker in workers:
        worker.run(10)
        worker.commit()
    with tab(tmp_path / "browser", height=3000) as page:
        page.open(f"{api.url}/")
        page.wait(f"document.querySelectorAll('canvas[data-step]').length === {WALL}")
        requests = counted(api)
        for step in range(11, 29):
            for worker in workers[:: 1 if step % 6 == 0 else 8]:
                worker.run(step)
                worker.commit()
            if step % 6 == 0:
                shown = f"[...document.querySelectorAll('.steps')].filter((e) => e.innerText === '{step} / 30').length"
                page.wait(f"{shown} === {WALL}")
        page.wait('Boolean(document.querySelector(\'canvas[data-step="24"], canvas[data-step="20"]\'))')
        while requests["/v1/tiles"] < 5:
            page.evaluate("new Promise((resolve) => setTimeout(resolve, 200))")
        assert sum(requests.values()) < 5 * requests["/v1/tiles"], requests
        assert not any(path.startswith("/v1/jobs/") for path in requests)
        assert page.errors == []


def test_the_list_shows_new_jobs_and_their_steps_without_polling(api: Api, tmp_path: Path) -> None:
    done(api, seed=1)
    with tab(tmp_path / "browser") as page:
        page.open(f"{api.url}/")
        page.wait("document.querySelectorAll('.tile canvas').length === 1")
        requests = counted(api)
        worker = Pretender(api, api.submit(seed=2))
        page.wait("document.querySelectorAll('.tile canvas').length === 2")
        for step in range(1, 31):
            worker.run(step)
            worker.commit()
        worker.finish()
        page.wait("[...document.querySelectorAll('.steps')].filter((e) => e.innerText === '30').length === 2")
        assert requests["/v1/jobs"] <= 4, "for its submission, its start and its end, not for its steps"
        page.fill("#filter", "seed:1")
        page.wait("document.querySelectorAll('.tile').length === 1")
        page.wait("location.hash.includes('q=seed')")
        assert page.errors == []


def test_the_page_says_that_the_service_is_away_and_goes_on_when_it_is_back(tmp_path: Path) -> None:
    with opened(tmp_path / "data") as api, tab(tmp_path / "browser") as page:

        def serve(port: int) -> Any:
            server = make_server("127.0.0.1", port, api.app, threaded=True)
            threading.Thread(target=server.serve_forever).start()
            return server

        done(api, seed=1)
        server = serve(0)
        port = server.port
        try:
            page.open(f"http://127.0.0.1:{port}/")
            page.wait("document.querySelectorAll('.tile canvas').length === 1")
            server.shutdown()
            server.server_close()
            page.has("the service does not answer")
            done(api, seed=2)
            server = serve(port)
            page.wait("document.querySelectorAll('.tile canvas').length === 2")
            page.wait("!document.body.innerText.includes('does not answer')")
        finally:
            server.shutdown()
            server.server_close()


def test_the_cell_and_the_animation_of_a_fork_begin_with_its_parent(api: Api, tmp_path: Path) -> None:
    root = done(api)
    answer = api.http.post(f"/v1/jobs/{root}/fork", json={"step": 30, "steps": 60})
    assert answer.status_code == 202, answer.text
    end = answer.json["id"]
    worker = Pretender(api, end)
    worker.at = worker.job.begins_at
    worker.run(60)
    worker.finish()
    read = "performance.getEntriesByType('resource').map((e) => e.name).find((name) => name.includes('/cells/3/4'))"
    film = "[...document.querySelectorAll('dialog a')].find((a) => a.innerText.includes('of the lineage (.webp)'))"
    with tab(tmp_path / "browser") as page:
        page.open(f"{api.url}/#/jobs/{end}?field=phase&step=45&cell=3,4")
        page.wait("document.querySelector('.over-time canvas') !== null")
        assert page.evaluate(f"fetch({read}).then((a) => a.json()).then((a) => a.step)") == [*range(0, 61, 3)]
        page.click("Export")
        page.wait(f"{film} !== undefined")
        headers = page.evaluate(f"fetch({film}.href).then((a) => [a.status, a.headers.get('X-Frames')])")
        assert headers == [200, str(len(range(0, 61, 3)))]
        assert page.errors == []
    with tab(tmp_path / "alone") as page:
        page.open(f"{api.url}/#/jobs/{root}?field=phase&step=15&cell=3,4")
        page.wait("document.querySelector('.over-time canvas') !== null")
        page.click("Export")
        page.wait("document.querySelector('dialog a') !== null")
        assert page.evaluate(f"{film} === undefined"), "a universe that continues none has no lineage to export"
        assert page.evaluate(f"{read}.includes('lineage')") is False
        assert page.errors == []
