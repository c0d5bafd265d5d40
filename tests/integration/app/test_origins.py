"""Pages of other sites: what they send changes nothing, and what they may read is a setting."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from leym.settings import Settings
from tests.support.api import SPEC, Api, done, opened, refused
from tests.support.paths import ROOT

EVIL = "https://evil.example"
VIEWER = "https://viewer.example"
ID = "0" * 26


def changing(api: Api) -> list[tuple[str, str]]:
    """(method, path) of every route that may change something."""
    return [
        (method, re.sub(r"<[^>]*>", ID, rule.rule))
        for rule in api.app.url_map.iter_rules()
        for method in sorted((rule.methods or set()) - {"GET", "HEAD", "OPTIONS"})
    ]


# --- orders


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": EVIL},
        {"Origin": "null"},  # a page in a sandbox, a file
        {"Origin": "http://localhost:8001"},  # another port of this machine
        {"Origin": "http://localhost.evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "http://localhost", "Sec-Fetch-Site": "cross-site"},
    ],
)
def test_no_route_takes_an_order_from_a_page_of_another_origin(api: Api, headers: dict[str, str]) -> None:
    job = api.submit()
    routes = changing(api)
    assert len(routes) >= 10
    for method, path in routes:
        answer = api.http.open(path.replace(ID, job, 1), method=method, headers=headers, json={})
        refused(answer, 403, method, "LEYM_CORS_ORIGINS")
    assert api.table.get(job).state == "queued"
    assert api.table.totals()["submitted"] == 1


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "http://localhost", "Sec-Fetch-Site": "same-origin"},
        {"Origin": "http://localhost"},
        {"Sec-Fetch-Site": "none"},
    ],
)
def test_the_page_and_clients_that_are_no_browsers_may_send_orders(api: Api, headers: dict[str, str]) -> None:
    assert api.http.post("/v1/jobs", json=SPEC, headers=headers).status_code == 202


def test_what_a_page_can_send_without_a_preflight_is_no_request(api: Api) -> None:
    """`fetch(url, {mode: "no-cors", body: new Blob([json])})` sends no Content-Type; a form sends one of three."""
    for kind in (None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        for path in ("/v1/jobs", "/v1/sweeps", "/v1/session", "/v1/laws/aurora/fidelity"):
            refused(api.http.post(path, data=json.dumps(SPEC).encode(), content_type=kind), 415, "Content-Type")
    assert api.table.totals()["submitted"] == 0


# --- names


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.evil.example", "[::1"]
)
def test_a_name_that_is_not_of_this_service_is_refused(api: Api, host: str) -> None:
    """After DNS rebinding a page of evil.example is of the same origin as the service."""
    own = {"Host": host, "Origin": f"http://{host}", "Sec-Fetch-Site": "same-origin"}
    for path in ("/", "/v1/jobs", "/metrics", "/healthz", "/docs", "/static/js/main.js", "/nothing"):
        refused(api.http.get(path, headers=own), 421, "Host = ", "LEYM_HOSTS")
    refused(api.http.post("/v1/jobs", json=SPEC, headers=own), 421)
    assert api.table.totals()["submitted"] == 0


@pytest.mark.parametrize(
    "host", ["localhost:8000", "LOCALHOST", "127.0.0.1:80", "[::1]:8000", "leym.localhost", "10.1.2.3:8000"]
)
def test_loopback_names_and_addresses_are_answered(api: Api, host: str) -> None:
    """An address in `Host` was typed as one: DNS has no say in it. Probes of a cluster use them."""
    assert api.http.get("/v1/jobs", headers={"Host": host}).status_code == 200


def test_further_names_are_a_setting(tmp_path: Path) -> None:
    with opened(tmp_path, hosts="leym.example.org, api") as api:
        for host, status in (
            ("leym.example.org", 200),
            ("Leym.Example.org.:443", 200),
            ("api:8000", 200),
            ("example.org", 421),
        ):
            assert api.http.get("/v1/jobs", headers={"Host": host}).status_code == status, host
    with opened(tmp_path, hosts="*") as api:
        assert api.http.get("/v1/jobs", headers={"Host": "any.example"}).status_code == 200


# --- reading

READ = [
    "",
    "/frames",
    "/frames/phase?last=1",
    "/observables",
    "/events",
    "/store.zarr/zarr.json",
    "/store.zarr/phase/c/9/0/0",
]


def allowed(api: Api, path: str, origin: str = VIEWER, method: str = "GET") -> str | None:
    asked = {"Access-Control-Request-Method": "POST"} if method == "OPTIONS" else {}
    answer = api.http.open(path, method=method, headers={"Origin": origin} | asked)
    return answer.headers.get("Access-Control-Allow-Origin")


def test_without_the_setting_no_page_of_another_site_reads_anything(api: Api) -> None:
    job = done(api)
    for path in [f"/v1/jobs/{job}{rest}" for rest in READ] + ["/v1/jobs", "/v1/laws", "/openapi.json", "/metrics", "/"]:
        answer = api.http.get(path, headers={"Origin": VIEWER})
        assert not [name for name, _ in answer.headers if name.startswith("Access-Control")], path
        assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin", path


def test_one_setting_opens_frames_events_store_and_json_to_listed_pages(tmp_path: Path) -> None:
    with opened(tmp_path, cors_origins=f"{VIEWER}, http://127.0.0.1:3000") as api:
        job = done(api)
        for path in [f"/v1/jobs/{job}{rest}" for rest in READ] + ["/v1/jobs", "/v1/jobs/none", "/openapi.json"]:
            assert allowed(api, path) == VIEWER, path
            assert allowed(api, path, EVIL) is None, path
            plain = api.http.get(path)
            assert "Access-Control-Allow-Origin" not in plain.headers, path
            assert "Origin" in plain.headers["Vary"], path
        assert allowed(api, "/metrics") is None
        head = api.http.get(f"/v1/jobs/{job}/frames/phase", headers={"Origin": VIEWER}).headers
        assert {"X-Steps", "ETag", "Content-Range"} <= set(head["Access-Control-Expose-Headers"].split(", "))
        assert api.http.post("/v1/jobs", json=SPEC, headers={"Origin": VIEWER}).status_code == 202
        assert api.http.post("/v1/jobs", json=SPEC, headers={"Origin": EVIL}).status_code == 403
        asked = {"Origin": VIEWER, "Access-Control-Request-Method": "POST"}
        preflight = api.http.options("/v1/jobs", headers=asked)
        assert preflight.status_code == 200
        assert "POST" in preflight.headers["Access-Control-Allow-Methods"]
        assert {"Authorization", "Range", "Idempotency-Key", "Last-Event-ID"} <= set(
            preflight.headers["Access-Control-Allow-Headers"].split(", ")
        )
        assert "Access-Control-Allow-Credentials" not in preflight.headers  # the page's cookie is not for others


def test_any_page_may_read_and_none_may_send_orders(tmp_path: Path) -> None:
    with opened(tmp_path, cors_origins="*") as api:
        job = done(api)
        for rest in READ:
            assert allowed(api, f"/v1/jobs/{job}{rest}", EVIL) == "*"
        asked = {"Origin": EVIL, "Access-Control-Request-Method": "POST"}
        preflight = api.http.options("/v1/jobs", headers=asked)
        assert "POST" not in preflight.headers["Access-Control-Allow-Methods"]
        refused(api.http.post("/v1/jobs", json=SPEC, headers={"Origin": EVIL}), 403)


def test_a_shared_link_is_read_on_any_page(api: Api) -> None:
    job = done(api)
    link = api.http.post(f"/v1/jobs/{job}/links", json={"ttl_s": 60}).json
    for path in (f"{link['store']}/zarr.json", f"{link['frames']}/phase?format=png", "/v1/shared/none/frames/phase"):
        answer = api.http.get(path, headers={"Origin": EVIL})
        assert answer.headers["Access-Control-Allow-Origin"] == "*", path
        assert answer.headers["Cross-Origin-Resource-Policy"] == "cross-origin", path
    asked = {"Origin": EVIL, "Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "range"}
    preflight = api.http.options(f"{link['store']}/zarr.json", headers=asked)
    assert preflight.status_code == 200
    assert "Range" in preflight.headers["Access-Control-Allow-Headers"]


@pytest.mark.parametrize(
    "wrong", ["viewer.example", "https://viewer.example/", "https://viewer.example/app", "ftp://a", "https://*"]
)
def test_a_setting_that_is_no_origin_is_refused(wrong: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(repr(wrong))):
        Settings(cors_origins=f"{VIEWER},{wrong}")


# --- Flower


def test_flower_is_started_with_its_guard_everywhere() -> None:
    for name in ("Procfile", "docker-compose.yml", "workers/supervisor/up.py"):
        text = (ROOT / name).read_text()
        assert "leym.flower" in text, name
        assert not re.search(r"leym\.tickets:app\W+flower", text), name
