"""The service below a path prefix behind a proxy: Debian's nginx with the example of deploy/nginx.conf."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import numpy as np
import pytest

from leym.client import Client, ProblemError
from leym.client.sse import parse_events
from leym.contract.identity import SCOPES
from leym.contract.spec import LIMITS
from leym.jobs.table import JobTable
from leym.settings import Settings
from tests.support.api import SPEC, Pretender, opened
from tests.support.browser import dom_of, pages
from tests.support.paths import ROOT
from tests.support.service import Service, until
from tests.support.tab import tab
from workers.broker import free_port, url_of

EXAMPLE = (ROOT / "deploy" / "nginx.conf").read_text()
NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")

MAIN = """
daemon off;
{user}
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {servers}
}}
"""

BARE = """
server {{
    listen 127.0.0.1:{port};
    location /leym/ {{
        proxy_pass http://{api}/;
        proxy_set_header X-Forwarded-Prefix /leym;
        proxy_set_header Authorization "Bearer {token}";
    }}
}}
"""


@dataclass
class Site:
    """What nginx shows. `url`: of the service, without a slash at its end; `signed_in`: the same with a token in every
    request, for a browser that has no hands to type one; `bare`: behind a block of nginx with nothing but its defaults;
    `viewer`: the origin of another site, of `viewer_files`, which
    may use the API."""

    url: str
    signed_in: str
    bare: str
    token: str
    authority: Path
    data: Path
    viewer: str
    viewer_files: Path

    def open(self, path: str, method: str = "GET", body: bytes | None = None, **headers: str) -> Any:
        """The answer to a request for a path of the site, or for a URL. Raises urllib.error.HTTPError."""
        sent = {"Authorization": f"Bearer {self.token}"} | {k.replace("_", "-"): v for k, v in headers.items()}
        request = urllib.request.Request(urljoin(self.url, path), body, sent, method=method)
        context = ssl.create_default_context(cafile=self.authority)
        return urllib.request.urlopen(request, context=context, timeout=240)

    def json(self, path: str, body: Any = None, **options: str) -> Any:
        sent = (
            {}
            if body is None
            else {"method": "POST", "body": json.dumps(body).encode(), "Content_Type": "application/json"}
        )
        with self.open(path, **sent | options) as answer:
            return json.loads(answer.read())


@pytest.fixture(scope="module")
def viewer(tmp_path_factory) -> Iterator[tuple[str, Path]]:
    folder = tmp_path_factory.mktemp("viewer")
    with pages(folder) as origin:
        yield origin, folder


@pytest.fixture(scope="module")
def site(tmp_path_factory, certificates, viewer) -> Iterator[Site]:
    if NGINX is None:
        pytest.skip("no nginx: deploy/debian-packages.sh installs it")
    data, folder = tmp_path_factory.mktemp("behind"), tmp_path_factory.mktemp("nginx")
    table = JobTable(Settings(data=data).database)
    _, token = table.create_token("all", SCOPES)
    table.close()
    settings = {"LEYM_PROXIES": "1", "LEYM_HOSTS": "leym.example.org", "LEYM_CORS_ORIGINS": viewer[0]}
    service = Service(data, "--workers", "0", "--no-flower", **settings).start()
    ports = [free_port(), free_port(), free_port()]
    known = "proxy_set_header Host $http_host;"
    token_added = EXAMPLE.replace(known, f'{known} proxy_set_header Authorization "Bearer {token}";')
    servers = [
        text.replace("127.0.0.1:8000", urlsplit(service.url).netloc)
        .replace("listen 443", f"listen 127.0.0.1:{port}")
        .replace("/etc/leym/tls/fullchain.pem", str(certificates.server[0]))
        .replace("/etc/leym/tls/privkey.pem", str(certificates.server[1]))
        for port, text in zip(ports[:2], (EXAMPLE, token_added), strict=True)
    ]
    servers.append(BARE.format(port=ports[2], api=urlsplit(service.url).netloc, token=token))
    # started by root, its workers would be nobody, who may not write into the folder
    user = "user root;" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(MAIN.format(folder=folder, user=user, servers="\n".join(servers)))
    nginx = subprocess.Popen([NGINX, "-p", folder, "-c", folder / "nginx.conf", "-e", folder / "error.log"])
    urls = [f"https://127.0.0.1:{port}/leym" for port in ports[:2]]
    found = Site(*urls, f"http://127.0.0.1:{ports[2]}/leym", token, certificates.authority, data, *viewer)

    def answers() -> bool:
        assert nginx.poll() is None, (folder / "error.log").read_text()
        try:
            return bool(found.open("/leym/healthz").status == 200)
        except urllib.error.URLError:
            return False

    try:
        until(answers, what="nginx answers")
        yield found
    finally:
        nginx.terminate()
        nginx.wait(240)
        code = service.stop()
    assert code == 0, service.tail()


@pytest.fixture(scope="module")
def job(site: Site) -> str:
    """A job that has succeeded, as a pretended worker ran it."""
    made = str(site.json("/leym/v1/jobs", SPEC)["id"])
    with opened(site.data, redis_url=url_of(site.data / "valkey")) as api:
        worker = Pretender(api, made)
        worker.run(worker.job.steps)
        worker.finish()
    return made


def links_in(body: Any) -> list[str]:
    return [link for key, link in body["links"].items() if key not in ("cancel", "stream")]  # a POST, a WebSocket


def test_every_link_and_location_leads_back_through_the_proxy(site: Site, job: str) -> None:
    found = site.json(f"/leym/v1/jobs/{job}")
    assert found["links"]["self"] == f"/leym/v1/jobs/{job}"
    for link in links_in(found):
        with site.open(f"{link}/zarr.json" if link.endswith(".zarr") else link) as answer:
            assert answer.status == 200, link
    for path, body in (
        ("jobs", SPEC),
        ("sweeps", {"base": SPEC, "axes": {"seed": [1, 2]}}),
        ("laws/aurora/fidelity", {"precision": "nf4"}),
    ):
        sent = json.dumps(body).encode()
        with site.open(f"/leym/v1/{path}", "POST", sent, Content_Type="application/json") as answer:
            made = json.loads(answer.read())
            assert (answer.status, answer.headers["Location"]) == (202, made["links"]["self"])
        assert site.json(answer.headers["Location"])["id"] == made["id"]
        assert all(link.startswith("/leym/v1/") for link in made["links"].values()), made["links"]
    shared = site.json(f"/leym/v1/jobs/{job}/links", {"ttl_s": 60})
    assert site.json(f"{shared['store']}/zarr.json", Authorization="")["attributes"]["job"] == job
    with site.open(f"{shared['frames']}/phase?format=png", Authorization="") as picture:
        assert picture.headers["Content-Type"] == "image/png"


def test_problems_and_the_document_name_the_prefix(site: Site) -> None:
    with pytest.raises(urllib.error.HTTPError) as missing:
        site.open("/leym/v1/jobs/none")
    assert json.loads(missing.value.read())["instance"] == "/leym/v1/jobs/none"
    document = site.json("/leym/openapi.json")
    assert [urljoin(f"{site.url}/openapi.json", server["url"]) for server in document["servers"]] == [site.url]


@pytest.mark.parametrize("page", ["", "docs"])
def test_what_a_page_loads_is_there(site: Site, page: str) -> None:
    with site.open(f"/leym/{page}") as answer:
        text, at = answer.read().decode(), answer.url
    references = re.findall(r'(?:href|src)="([^"#]+)"', text) + re.findall(r'url: "([^"]+)"', text)
    references = [reference for reference in references if not reference.startswith("data:")]
    assert len(references) >= 3
    for reference in references:
        with site.open(urljoin(at, reference)) as answer:
            assert answer.status == 200 and answer.url.startswith(f"{site.url}/"), reference  # noqa: PT018


def test_the_session_is_for_the_prefix_and_for_tls_only(site: Site) -> None:
    origin = site.url.removesuffix("/leym")
    sent = {"body": json.dumps({"token": site.token}).encode(), "Content_Type": "application/json", "Authorization": ""}
    with site.open("/leym/v1/session", "POST", Origin=origin, **sent) as begun:
        cookie = begun.headers["Set-Cookie"]
    assert {"Path=/leym", "Secure", "HttpOnly", "SameSite=Strict"} <= set(cookie.split("; "))
    for wrong in ("https://evil.example", f"http://{urlsplit(site.url).hostname}"):
        with pytest.raises(urllib.error.HTTPError) as refused:
            site.open("/leym/v1/session", "POST", Origin=wrong, **sent)
        assert refused.value.code == 403


def test_only_names_of_the_service_are_answered(site: Site) -> None:
    assert site.json("/leym/v1/jobs", Host="leym.example.org")["items"] is not None
    with pytest.raises(urllib.error.HTTPError) as refused:
        site.open("/leym/v1/jobs", Host="evil.example")
    assert refused.value.code == 421


@pytest.mark.parametrize("of", ["one", "many", "many, with the defaults of nginx"])
def test_events_come_one_by_one(site: Site, of: str) -> None:
    """Each event is there before the next thing happens to the job: nothing between collects them."""
    made = site.json("/leym/v1/jobs", SPEC | {"seed": 11})["id"]
    path = f"/v1/jobs/{made}/events" if of == "one" else f"/v1/events?jobs={made}&replay=true"
    with opened(site.data, redis_url=url_of(site.data / "valkey")) as api:
        worker = Pretender(api, made)
        with site.open((site.bare if "defaults" in of else site.url) + path) as stream:
            events = parse_events(stream)
            for step in (3, 6, 9):
                worker.run(step)
                worker.commit()
                frames = (json.loads(event.data) for event in events if event.name == "frame")
                assert any(frame["step"] == step for frame in frames)
            worker.run(worker.job.steps)
            worker.finish()
            assert [event.name for event in events][-1] == "end"


def test_frames_come_over_a_websocket(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each frame is there before the next thing happens to the job, below the prefix and over TLS."""
    monkeypatch.setenv("SSL_CERT_FILE", str(site.authority))
    made = site.json("/leym/v1/jobs", SPEC | {"seed": 12})["id"]
    with opened(site.data, redis_url=url_of(site.data / "valkey")) as api, Client(site.url, token=site.token) as client:
        worker = Pretender(api, made)
        frames = client.job(made).live("phase", dtype="f16")
        for step in (0, 3, 6):
            worker.run(step)
            worker.commit()
            seen, frame = next(frames)
            assert (seen, frame.shape, frame.dtype) == (step, (8, 12), np.float16)
        worker.run(worker.job.steps)
        worker.finish()
        assert [step for step, _ in frames] == list(range(9, 31, 3))


def test_a_websocket_says_what_the_defaults_of_nginx_lack(site: Site, job: str) -> None:
    with Client(site.bare) as client, pytest.raises(ProblemError, match="proxy_set_header Upgrade") as refused:
        next(client.job(job).live("phase"))
    assert refused.value.status == 426


def test_uploads_of_every_size_that_the_api_takes_come_through(site: Site) -> None:
    file = io.BytesIO()
    np.save(file, np.full((256, 256, 8), 0.5, np.complex64))  # 4 MiB: beyond what nginx takes unless told to
    with site.open("/leym/v1/states", "POST", file.getvalue(), Content_Type="application/octet-stream") as answer:
        assert json.loads(answer.read())["shape"] == [256, 256, 8]
    [megabytes] = re.findall(r"client_max_body_size (\d+)m;", EXAMPLE)
    assert int(megabytes) * 2**20 > max(LIMITS.law_bytes + 2**20, LIMITS.upload_bytes)


def test_the_sdk_takes_the_address_with_the_prefix(site: Site, job: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(site.authority))
    with Client(site.url, token=site.token) as client:
        found = client.job(job)
        assert found.wait(240).state == "succeeded"
        steps, frames = found.array("phase")
        assert steps.tolist() == list(range(0, 31, 3))
        assert frames.shape == (11, 8, 12)
        shared = found.share(60)
    assert shared["store"].startswith(f"{site.url}/v1/shared/")
    assert site.json(f"{shared['store']}/zarr.json", Authorization="")["attributes"]["job"] == job


@pytest.mark.browser
def test_page_and_docs_work_in_a_real_browser(site: Site, job: str, tmp_path: Path) -> None:
    with tab(tmp_path / "page", "--ignore-certificate-errors") as page:
        page.open(f"{site.signed_in}/#{job}")
        page.has("succeeded", "30 of 30 steps", "coherence")
        page.wait("document.querySelector('.stage').dataset.step")
        pictures = [request for request in page.requests if f"/v1/jobs/{job}/frames/phase" in request]
        assert pictures
        assert all(request.startswith((site.signed_in, "data:")) for request in page.requests)
        assert page.errors == []
    docs = dom_of(f"{site.signed_in}/docs", tmp_path, "--ignore-certificate-errors")
    assert "opblock" in docs
    assert "/v1/jobs/{id}/cancel" in docs.replace("\u200b", "").replace("<wbr>", "")


VIEWER = """<!doctype html><pre id="said"></pre><script>
const said = {}, headers = {Authorization: "Bearer TOKEN"};
(async () => {
  const part = await fetch("API/v1/jobs/JOB/store.zarr/phase/c/0/0/0", {headers: {...headers, Range: "bytes=0-9"}});
  said.part = [part.status, (await part.arrayBuffer()).byteLength, part.headers.get("Content-Range")];
  const frames = await fetch("API/v1/jobs/JOB/frames/phase?format=npy", {headers});
  said.frames = frames.headers.get("X-Frames");
  const events = await fetch("API/v1/jobs/JOB/events", {headers: {...headers, "Last-Event-ID": "29"}});
  said.events = (await events.text()).includes("event: end");
  const sent = {"Content-Type": "application/json", "Idempotency-Key": "viewer"};
  const made = await fetch("API/v1/jobs", {method: "POST", headers: {...headers, ...sent}, body: 'SPEC'});
  said.made = [made.status, (made.headers.get("Location") || "").startsWith("/leym/v1/jobs/")];
  said.missing = (await (await fetch("API/v1/jobs/none", {headers})).json()).status;
  document.getElementById("said").textContent = JSON.stringify(said);
})().catch((error) => { document.getElementById("said").textContent = `${error} after ${JSON.stringify(said)}`; });
</script>"""


@pytest.mark.browser
def test_a_listed_page_of_another_site_uses_the_api_in_a_real_browser(site: Site, job: str, tmp_path: Path) -> None:
    page = (
        VIEWER.replace("TOKEN", site.token)
        .replace("API", site.url)
        .replace("JOB", job)
        .replace("SPEC", json.dumps(SPEC))
    )
    (site.viewer_files / "viewer.html").write_text(page)
    dom = dom_of(f"{site.viewer}/viewer.html", tmp_path, "--ignore-certificate-errors")
    said = re.findall(r'<pre id="said">(.*?)</pre>', dom)[0]
    with site.open(f"/leym/v1/jobs/{job}/store.zarr/phase/c/0/0/0") as whole:
        size = len(whole.read())
    assert json.loads(said) == {
        "part": [206, 10, f"bytes 0-9/{size}"],
        "frames": "11",
        "events": True,
        "made": [202, True],
        "missing": 404,
    }
