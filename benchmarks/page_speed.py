"""Measures how soon the page paints, and how many frames a second it shows: `python -m benchmarks.page_speed`.

    python -m benchmarks.page_speed [--loads 10] [--seconds 5] [--json]

A real Chromium without a GPU opens the page of a service on this machine:

    first paint     ms until text is painted: in a browser that runs, with nothing in its cache and with everything; and
                    as the first page of a browser that has just started. Beside it the service's shortest answer, text
                    of one line, opened in the same way.
    kilobytes       of the page's own files until a universe's first frame stood in the canvas
    frames/s        of a universe of 256×256 that the page plays at 60 frames/s: while nothing else runs, and while the
                    worker computes another universe as fast as it can

Medians over the loads.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from leym.client import Client
from leym.demo.service import running_service
from tests.support.tab import Tab, tab

GRID, STEPS, SPEED = (256, 256), 60, 60
PAINTED = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
SHOWN = "document.querySelector('.stage')?.dataset.step !== undefined"
CARRIED = (
    "performance.getEntriesByType('navigation').concat(performance.getEntriesByType('resource'))"
    ".filter(({ name }) => !name.includes('/v1/')).reduce((sum, { transferSize }) => sum + transferSize, 0)"
)
# frames that the stage shows in so many seconds, while the timeline plays
COUNT = """new Promise((done) => {
  const stage = document.querySelector('.stage'), began = performance.now();
  let shown = 0, before = stage.dataset.step;
  const look = (now) => {
    if (stage.dataset.step !== before) { shown += 1; before = stage.dataset.step; }
    if (now - began < SECONDS * 1000) requestAnimationFrame(look);
    else done(shown * 1000 / (now - began));
  };
  requestAnimationFrame(look);
})"""


def first_paint(page: Tab, url: str) -> float:
    """Open an address in a tab that shows nothing, and return the milliseconds until it has painted text."""
    page.open("about:blank")
    page.wait("location.href === 'about:blank'")
    page.open(url)
    return float(page.wait(PAINTED))


def paints(client: Client, folder: Path, loads: int) -> dict[str, float]:
    pages = {"page": f"{client.url}/", "one line": f"{client.url}/healthz"}
    found: dict[str, list[float]] = {}
    with tab(folder / "running") as page:
        first_paint(page, pages["one line"])  # the first page of a browser is another figure
        for cache in ("nothing cached", "everything cached"):
            for _ in range(loads):
                for name, url in pages.items():
                    if cache == "nothing cached":
                        page.call("Network.clearBrowserCache")
                    found.setdefault(f"{name}, {cache}", []).append(first_paint(page, url))
    for load in range(loads):
        for name, url in pages.items():
            with tab(folder / f"{name}-{load}") as page:
                found.setdefault(f"{name}, browser just started", []).append(first_paint(page, url))
    return {name: median(values) for name, values in found.items()}


def frames(client: Client, folder: Path, seconds: float) -> dict[str, float]:
    job = client.submit("aurora", grid=GRID, steps=STEPS, record={"phase": 1})
    job.wait()
    with tab(folder / "playing") as page:
        page.open(f"{client.url}/#/jobs/{job.id}")
        page.wait(SHOWN)
        found = {"kilobytes": page.evaluate(CARRIED) / 1e3}
        page.fill("select[aria-label='Frames per second']", str(SPEED))
        time.sleep(seconds)  # it plays by itself; after one round, all frames are at hand
        count = COUNT.replace("SECONDS", str(seconds))
        found["frames/s, worker idle"] = page.evaluate(count)
        busy = client.submit("aurora", grid=GRID, steps=1_000_000)
        while busy.refresh().step == 0:
            time.sleep(0.1)
        found["frames/s, worker busy"] = page.evaluate(count)
        busy.cancel()
    return found


def main() -> None:
    """Measure, and print the figures."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--loads", type=int, default=10)
    options.add_argument("--seconds", type=float, default=5.0, help="that frames are counted")
    options.add_argument("--json", action="store_true")
    chosen = options.parse_args()
    with TemporaryDirectory(prefix="leym-bench-") as folder:
        warm = f"aurora/nf4/{GRID[0]}x{GRID[1]}"
        with running_service(warm=warm, data=Path(folder) / "data") as client:
            found: dict[str, Any] = {"first paint in ms": paints(client, Path(folder), chosen.loads)}
            found |= frames(client, Path(folder), chosen.seconds)
    print(json.dumps(found, indent=None if chosen.json else 1))


if __name__ == "__main__":
    main()
