"""A script in a real browser, beside the API at one address, and JavaScript libraries for it from npm."""

from __future__ import annotations

import json
import queue
import re
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect
from werkzeug.middleware.shared_data import SharedDataMiddleware
from werkzeug.serving import make_server
from werkzeug.wrappers import Request, Response

from tests.support.paths import CHROMIUM, ROOT

LIMIT_S = 60  # dev

MODULES = ROOT / "tests" / "clients" / "node_modules"  # tests/clients/install.sh, which `make setup` runs
IMPORTS = {
    "zarrita": "zarrita/dist/src/index.js",
    "@zarrita/storage/fetch": "@zarrita/storage/dist/src/fetch.js",
    "numcodecs/blosc": "numcodecs/dist/blosc.js",
}
PAGE = """<!doctype html><script type="importmap">IMPORTS</script><script type="module">
import("/reader/script.js").catch((error) => fetch("/reader/result", {method: "POST",
  headers: {"Content-Type": "application/json"}, body: JSON.stringify({error: String(error)})}));
</script>"""
PRELUDE = """
const result = (value) => fetch("/reader/result", {method: "POST",
  headers: {"Content-Type": "application/json"}, body: JSON.stringify(value)});
const act = async (name) => (await fetch(`/reader/${name}`, {cache: "no-store"})).json();
"""


@pytest.fixture(scope="session")
def modules() -> Path:
    """`node_modules` with zarrita. Skips where npm was missing when `make setup` ran."""
    if not (MODULES / "zarrita").exists():
        pytest.skip("zarrita is not installed: make setup does that where npm is")
    return MODULES


class Site:
    """The API, and beside it `/reader/`: a page, the modules that it imports, and what it asks the test to do."""

    def __init__(self, api: Any, modules: Path | None, script: str, actions: dict[str, Callable[[], Any]]):
        self._script, self._actions = script, actions
        self._acting = threading.Lock()  # one action at a time, although a browser asks for several things at once
        self.results: queue.Queue[Any] = queue.Queue()
        self._app = SharedDataMiddleware(api, {"/reader/modules": str(modules)}) if modules else api

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        request = Request(environ)
        name = request.path.removeprefix("/reader/")
        if name == request.path or name.startswith("modules/"):
            return self._app(environ, start_response)
        if name == "result":
            self.results.put(request.get_json())
            return Response(status=204)(environ, start_response)
        if name in self._actions:
            with self._acting:
                done = self._actions[name]()
            return Response(json.dumps(done), mimetype="application/json")(environ, start_response)
        if name == "script.js":
            return Response(PRELUDE + self._script, mimetype="text/javascript")(environ, start_response)
        imports = json.dumps({"imports": {key: f"/reader/modules/{path}" for key, path in IMPORTS.items()}})
        return Response(PAGE.replace("IMPORTS", imports), mimetype="text/html")(environ, start_response)


@contextmanager
def opened_in_chromium(site: Site, profile: Path) -> Iterator[None]:
    server = make_server("127.0.0.1", 0, site, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    command += [
        f"--user-data-dir={profile}",
        "--remote-debugging-port=0",
        f"http://127.0.0.1:{server.server_port}/reader/page",
    ]
    with (profile / "log").open("wb") as log:
        browser = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        yield
    finally:
        browser.terminate()
        browser.wait(LIMIT_S)
        server.shutdown()


def run(api: Any, modules: Path | None, profile: Path, script: str, **actions: Callable[[], Any]) -> Any:
    """What `script`, a module, passes to `result(value)`. It may call `await act(name)`, which runs the action here.

    Raises AssertionError when the script fails or gives nothing.
    """
    site = Site(api, modules, script, actions)
    with opened_in_chromium(site, profile):
        try:
            found = site.results.get(timeout=LIMIT_S)
        except queue.Empty:
            raise AssertionError((profile / "log").read_text(errors="replace")[-2000:]) from None
    assert not (isinstance(found, dict) and "error" in found), found
    return found


@contextmanager
def pages(folder: Path) -> Iterator[str]:
    """A web site of the files in `folder`; its origin, which is none of the service's."""
    site = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(folder)))
    threading.Thread(target=site.serve_forever, daemon=True).start()
    try:
        yield f"http://localhost:{site.server_address[1]}"
    finally:
        site.shutdown()
        site.server_close()


def dom_with(wanted: Iterable[str], url: str, profile: Path, *options: str) -> str:
    """The document at `url` once every pattern of `wanted` matches it, or as it stands after LIMIT_S.

    Args:
        wanted: Patterns of what the page shows in the end.
        url: The page. It may hold streams open, for which the virtual time of `dom_of` would wait forever.
        profile: A folder for the browser's own files.
        options: More options of the browser.
    """
    profile.mkdir(exist_ok=True)
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", *options]
    command += [f"--user-data-dir={profile}", "--remote-debugging-port=0", url]
    end, dom, port = time.monotonic() + LIMIT_S, "", profile / "DevToolsActivePort"
    with (profile / "log").open("wb") as log:
        browser = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        while not (port.exists() and port.read_text().count("\n")):
            assert browser.poll() is None, (profile / "log").read_text(errors="replace")[-2000:]
            assert time.monotonic() < end
            time.sleep(0.05)
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a test may name a proxy
        with direct.open(f"http://127.0.0.1:{port.read_text().split()[0]}/json/list") as answer:
            [tab] = [tab for tab in json.load(answer) if tab["type"] == "page"]
        with connect(tab["webSocketDebuggerUrl"], max_size=None, proxy=None) as devtools:
            patterns = [re.compile(pattern) for pattern in wanted]
            while time.monotonic() < end and not (dom and all(pattern.search(dom) for pattern in patterns)):
                time.sleep(0.1)
                dom = _evaluate(devtools, "document.documentElement.outerHTML")
    finally:
        browser.terminate()
        browser.wait(LIMIT_S)
    return dom


def _evaluate(devtools: ClientConnection, expression: str) -> str:
    devtools.send(json.dumps({"id": 1, "method": "Runtime.evaluate", "params": {"expression": expression}}))
    while (answer := json.loads(devtools.recv(LIMIT_S))).get("id") != 1:
        pass
    return str(answer.get("result", {}).get("result", {}).get("value") or "")


def dom_of(url: str, profile: Path, *options: str, budget_ms: int = 20_000) -> str:
    """The document at `url` as it stands once its scripts have nothing more to do.

    Args:
        url: The page.
        profile: A folder for the browser's own files.
        options: More options of the browser.
        budget_ms: The longest time that the page sees pass; a page that asks again and again uses all of it.
    """
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", *options]
    command += [f"--user-data-dir={profile}", f"--virtual-time-budget={budget_ms}", "--dump-dom", url]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=True).stdout
