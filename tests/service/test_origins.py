"""Pages of other sites and a running service: Flower takes no orders from them, nor does the API in a real browser."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.support.browser import dom_of, pages

EVIL = "https://evil.example"


def flower_of(service) -> str:
    return re.findall(r"Flower is at (http://\S+)", service.log.read_text())[-1]


def status(url: str, method: str = "GET", **headers: str) -> int:
    request = urllib.request.Request(url, method=method, headers={k.replace("_", "-"): v for k, v in headers.items()})
    try:
        with urllib.request.urlopen(request) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_flower_takes_no_orders_from_pages_of_other_sites_and_shows_them_nothing(service) -> None:
    flower, [worker] = flower_of(service), service.simulators()
    foreign = [
        {"Origin": EVIL},
        {"Origin": "null"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site", "Sec_Fetch_Mode": "no-cors"},
        {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "iframe"},
    ]
    for headers in foreign:
        for path in (f"/api/worker/shutdown/{worker['name']}", "/api/task/revoke/x", "/login"):
            assert status(flower + path, "POST", **headers) == 403, (path, headers)
        for path in ("/api/tasks", "/metrics", "/healthcheck", "/", "/static/js/flower.js", "/nothing"):
            assert status(flower + path, **headers) == 403, (path, headers)
    for path in ("/api/tasks", "/metrics", "/"):
        assert status(flower + path, Host="evil.example") == 421, path
        assert status(flower + path) == status(flower + path, Origin=flower, Sec_Fetch_Site="same-origin") == 200, path
    followed = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "document"}
    assert status(f"{flower}/", **followed) == 200
    assert service.simulators()[0]["state"] == "ready"


ATTACK = """<!doctype html><title>evil</title><pre id="said"></pre><script>
const said = [];
async function attack(name, url, options) {
  try { const answer = await fetch(url, options); said.push(`${name}: ${answer.type} ${answer.status}`); }
  catch (error) { said.push(`${name}: ${error.name}`); }
}
(async () => {
  await attack("submit", "API/v1/jobs", {method: "POST", mode: "no-cors", body: new Blob([JSON.stringify(SPEC)])});
  await attack("cancel", "API/v1/jobs/JOB/cancel", {method: "POST", mode: "no-cors"});
  await attack("shutdown", "FLOWER/api/worker/shutdown/WORKER", {method: "POST", mode: "no-cors"});
  await attack("read jobs", "API/v1/jobs", {});
  await attack("read metrics", "API/metrics", {});
  await attack("read Flower", "FLOWER/api/workers", {});
  document.getElementById("said").textContent = said.join("; ") + "; over";
})();
</script>"""


@pytest.mark.browser
def test_a_page_of_another_origin_does_nothing_in_a_real_browser(service, tmp_path: Path) -> None:
    spec = {"law": "tiny", "grid": [8, 8], "steps": 10, "tags": {"by": "evil"}}
    job = service.client.submit("tiny", (16, 16), 1_000_000)
    [worker] = service.simulators()
    said = {
        "API": service.url,
        "FLOWER": flower_of(service),
        "JOB": job.id,
        "WORKER": worker["name"],
        "SPEC": json.dumps(spec),
    }
    site = tmp_path / "site"
    site.mkdir()
    (site / "evil.html").write_text(re.sub("|".join(said), lambda found: said[found[0]], ATTACK))
    with pages(site) as origin:
        dom = dom_of(f"{origin}/evil.html", tmp_path / "profile")
    assert "over" in dom, dom
    for name in ("read jobs", "read metrics", "read Flower"):
        assert f"{name}: TypeError" in dom, dom
    assert job.refresh().state in ("queued", "running")
    assert service.client._http.json("GET", "/v1/jobs", having=("items",), params={"tag": "by:evil"})["items"] == []
    assert service.simulators()[0]["state"] == "ready"
    assert service.simulators()[0]["pid"] == worker["pid"]
    job.cancel()
