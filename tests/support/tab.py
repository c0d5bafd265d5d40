"""A tab of a real browser that a test drives: evaluates, waits, presses keys, takes pictures, and notes every error."""

from __future__ import annotations

import base64
import json
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

from tests.support.browser import LIMIT_S, MODULES
from tests.support.paths import CHROMIUM

OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
)
AXE = MODULES / "axe-core" / "axe.min.js"
SERIOUS = ("serious", "critical")
# counts the canvases that have been drawn on
PAINTED = """(selector) => [...document.querySelectorAll(selector)].filter((canvas) => {
  const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
  return data.some((value, i) => i % 4 === 3 && value > 0);
}).length"""


class Tab:
    """One tab. Lists what a person would see in the console (`errors`), and the addresses it asked for (`requests`)."""

    def __init__(self, devtools: ClientConnection):
        self._devtools, self._next = devtools, 0
        self.errors: list[str] = []
        self.requests: list[str] = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command of the protocol and return its result."""
        self._next += 1
        self._devtools.send(json.dumps({"id": self._next, "method": method, "params": params}))
        while (message := json.loads(self._devtools.recv(LIMIT_S))).get("id") != self._next:
            self._note(message)
        assert "error" not in message, (method, message)
        found: dict[str, Any] = message["result"]
        return found

    def _note(self, message: dict[str, Any]) -> None:
        params = message.get("params", {})
        if message.get("method") == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.errors.append(details.get("exception", {}).get("description") or details["text"])
        elif message.get("method") == "Runtime.consoleAPICalled" and params["type"] in ("error", "assert"):
            self.errors.append(" ".join(str(part.get("value", part.get("description"))) for part in params["args"]))
        elif message.get("method") == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.errors.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")
        elif message.get("method") == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])

    def open(self, url: str) -> None:
        """Go to an address; one that differs by its hash alone changes the view as a link does."""
        self.call("Page.navigate", url=url)

    def evaluate(self, expression: str) -> Any:
        """Return the value of an expression; a promise is awaited. Raises AssertionError if it throws."""
        done = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in done, (expression, done["exceptionDetails"])
        return done["result"].get("value")

    def wait(self, expression: str, limit_s: float = LIMIT_S) -> Any:
        """Return the value of an expression as soon as it is true. Raises AssertionError after `limit_s` seconds."""
        end = time.monotonic() + limit_s
        plain = f"Promise.resolve({expression}).then((found) => (found instanceof Node ? true : found))"
        while True:
            done = self.call("Runtime.evaluate", expression=plain, awaitPromise=True, returnByValue=True)
            found = done["result"]
            value = found.get("value")
            if "exceptionDetails" not in done and (value or (found["type"] == "object" and value is not None)):
                return value
            if time.monotonic() > end:
                raise AssertionError((expression, self.errors, self.text()[:3000]))
            time.sleep(0.05)

    def text(self) -> str:
        """Return the text that is shown."""
        return str(self.evaluate("document.body.innerText"))

    def has(self, *texts: str) -> None:
        """Wait until every one of the texts is shown."""
        for text in texts:
            self.wait(f"document.body.innerText.includes({json.dumps(text)})")

    def click(self, name: str, within: str = "document") -> None:
        """Click what a person knows by its name (text or label) as soon as it is there and may be clicked."""
        self.wait(
            f"""(() => {{
              const all = [...{within}.querySelectorAll('button, a, summary, [role=button], [role=tab]')];
              const names = (e) => [e.getAttribute('aria-label'), e.innerText].map((t) => t?.trim());
              const named = (e) => names(e).includes({json.dumps(name)});
              const found = all.find((e) => named(e) && !e.disabled && e.getClientRects().length);
              if (found) found.click();
              return Boolean(found);
            }})()"""
        )

    def fill(self, selector: str, value: str) -> None:
        """Put a value into the field that a selector finds, as typing does."""
        self.wait(
            f"""(() => {{
              const found = document.querySelector({json.dumps(selector)});
              if (!found) return false;
              found.focus();
              found.value = {json.dumps(value)};
              for (const name of ['input', 'change']) found.dispatchEvent(new Event(name, {{bubbles: true}}));
              return true;
            }})()"""
        )

    def choose_file(self, selector: str, path: Path) -> None:
        """Choose a file in the field that a selector finds."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        field = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=field, files=[str(path)])

    def key(self, key: str) -> None:
        """Press a key."""
        text: dict[str, Any] = {"text": key} if len(key) == 1 else {}
        if key == "Enter":  # a form is submitted by the character, not by the key
            text = {"text": "\r", "windowsVirtualKeyCode": 13}
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key)

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Press the mouse at `start` (x, y in pixels of the window) and let it go at `end`."""
        common = {"button": "left", "clickCount": 1}
        self.call("Input.dispatchMouseEvent", type="mousePressed", x=start[0], y=start[1], **common)
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=end[0], y=end[1], button="left", buttons=1)
        self.call("Input.dispatchMouseEvent", type="mouseReleased", x=end[0], y=end[1], **common)

    def box(self, selector: str) -> dict[str, float]:
        """Return left, top, width and height of what a selector finds, in pixels of the window."""
        rectangle = f"document.querySelector({json.dumps(selector)})?.getBoundingClientRect()"
        self.wait(f"{rectangle}?.width > 0")
        found: dict[str, float] = self.evaluate(
            f"(({{x, y, width, height}}) => ({{x, y, width, height}}))({rectangle})"
        )
        return found

    def size(self, width: int, height: int, phone: bool = False) -> None:
        """Give the window a size; `phone`: with touch instead of a mouse."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone)
        self.call("Emulation.setTouchEmulationEnabled", enabled=phone)

    def theme(self, name: str) -> None:
        """Let the system prefer `dark` or `light`."""
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": name}])

    def picture(self, path: Path) -> None:
        """Save a picture of the window (.png or .webp)."""
        kind = {"format": "webp", "quality": 82} if path.suffix == ".webp" else {"format": "png"}
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", **kind)["data"]))

    def audit(self) -> list[str]:
        """Return the serious findings of axe-core about what is shown now: rule, sentence and the first elements."""
        if not self.evaluate("typeof axe !== 'undefined'"):
            self.evaluate(AXE.read_text(encoding="utf-8") + "; 1")
        found = self.evaluate("axe.run(document, {resultTypes: ['violations']}).then((r) => r.violations)")
        return [
            f"{one['id']}: {one['help']}: {[node['html'][:160] for node in one['nodes'][:3]]}"
            for one in found
            if one["impact"] in SERIOUS
        ]


@contextmanager
def tab(profile: Path, *options: str, width: int = 1440, height: int = 900) -> Iterator[Tab]:
    """Start a browser with a profile of its own, and give its tab."""
    profile.mkdir(parents=True, exist_ok=True)
    command = [str(CHROMIUM), *OPTIONS, *options, f"--window-size={width},{height}", f"--user-data-dir={profile}"]
    end, port = time.monotonic() + LIMIT_S, profile / "DevToolsActivePort"
    with (profile / "log").open("wb") as log:
        browser = subprocess.Popen([*command, "--remote-debugging-port=0", "about:blank"], stdout=log, stderr=log)
    try:
        while not (port.exists() and port.read_text().count("\n")):
            assert browser.poll() is None, (profile / "log").read_text(errors="replace")[-2000:]
            assert time.monotonic() < end
            time.sleep(0.05)
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a test may name a proxy
        with direct.open(f"http://127.0.0.1:{port.read_text().split()[0]}/json/list") as answer:
            found = next(one for one in json.load(answer) if one["type"] == "page")
        with connect(found["webSocketDebuggerUrl"], max_size=None, proxy=None) as devtools:
            driven = Tab(devtools)
            driven.size(width, height)
            yield driven
    finally:
        browser.terminate()
        browser.wait(LIMIT_S)
