"""The page in a real browser follows the list of jobs by one stream, and does not poll it."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from app import many_events
from tests.support.api import Api, Pretender, done, reachable
from tests.support.browser import dom_with


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    monkeypatch.setattr(many_events, "POLL_S", 0.02)
    with reachable(tmp_path / "data") as found:
        yield found


@pytest.mark.browser
def test_the_list_shows_new_jobs_and_their_steps_without_polling(api: Api, tmp_path: Path) -> None:
    """The job is submitted once the page is shown, and steps further each time that the page looks at the workers."""
    done(api, seed=1)
    requests: Counter[str] = Counter()
    lists: list[int] = []
    lock = threading.RLock()  # submitting is a request too
    worker: list[Pretender] = []
    app: Callable[..., Any] = api.app.wsgi_app

    def watched(environ: dict[str, Any], start_response: Any) -> Any:
        path = environ["PATH_INFO"]
        with lock:
            requests[path] += 1
            looks = requests[path]
            if path == "/v1/workers" and looks == 2:
                worker.append(Pretender(api, api.submit(seed=2)))
            elif path == "/v1/workers" and looks == 3:
                lists.append(requests["/v1/jobs"])
            if path == "/v1/workers" and 3 <= looks <= 5:
                worker[0].run(6 * looks)
                worker[0].commit()
        return app(environ, start_response)

    api.app.wsgi_app = watched  # type: ignore[method-assign]
    both = r"(?s)>30 / 30<.*>30 / 30<"
    assert re.search(both, dom_with([both], f"{api.url}/", tmp_path / "browser"))
    assert requests["/v1/jobs"] - lists[0] <= 1, "one that the start of the job asked for"
