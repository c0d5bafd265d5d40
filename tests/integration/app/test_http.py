"""HTTP beside what the routes say: content codings, and what the server refuses before the app sees it."""

from __future__ import annotations

import gzip
import json
import socket
from urllib.parse import urlsplit

import pytest

from tests.support.api import SPEC, Api, done, refused

GZIP = {"Accept-Encoding": "gzip"}


# --- answers


def test_json_and_text_are_compressed_for_those_who_accept_it(api: Api) -> None:
    job = done(api, steps=3000, observe={"every": 1, "names": ["activity"]}, record=[])
    bad = json.dumps({f"key_{i}": i for i in range(100)})
    for path in (
        "/v1/jobs",
        f"/v1/jobs/{job}/observables",
        "/openapi.json",
        "/",
    ):
        plain, packed = api.http.get(path), api.http.get(path, headers=GZIP)
        assert plain.status_code == packed.status_code == 200, path
        assert "Content-Encoding" not in plain.headers, path
        assert packed.headers["Content-Encoding"] == "gzip", path
        assert gzip.decompress(packed.data) == plain.data, path
        assert 2 * len(packed.data) < len(plain.data), path
        assert packed.headers["Content-Length"] == str(len(packed.data)), path
        assert "Accept-Encoding" in plain.headers["Vary"], path
        assert "Accept-Encoding" in packed.headers["Vary"], path
        assert api.http.head(path, headers=GZIP).headers["Content-Length"] == str(len(packed.data)), path
        etag = packed.headers.get("ETag")
        if etag is not None:
            assert etag == f"W/{plain.headers['ETag']}", path  # strong ones name bytes, and these are others
            unchanged = api.http.get(path, headers=GZIP | {"If-None-Match": etag})
            assert unchanged.status_code == 304, path
            assert unchanged.headers["ETag"] == etag, path
            assert not unchanged.data, path
            assert "Accept-Encoding" in unchanged.headers["Vary"], path
    problem = api.http.post("/v1/jobs", data=bad, content_type="application/json", headers=GZIP)
    assert problem.status_code == 422
    assert problem.headers["Content-Encoding"] == "gzip"
    assert json.loads(gzip.decompress(problem.data))["status"] == 422


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("gzip, deflate, br", "gzip"),
        ("*", "gzip"),
        ("br;q=1, gzip;q=0.5", "gzip"),
        ("", None),
        ("identity", None),
        ("br", None),
        ("gzip;q=0", None),
        ("*;q=0.1, gzip;q=0", None),
        ("identity, gzip;q=0.5", None),
    ],
)
def test_the_coding_is_what_the_client_accepts(api: Api, accepted: str, coding: str | None) -> None:
    answer = api.http.get("/openapi.json", headers={"Accept-Encoding": accepted})
    assert answer.status_code == 200
    assert answer.headers.get("Content-Encoding") == coding


def test_streams_ranges_files_and_short_answers_are_sent_as_they_are(api: Api) -> None:
    job = done(api)
    at = f"/v1/jobs/{job}"
    paths = [f"{at}/events", f"{at}/store.zarr/zarr.json", f"{at}/store.zarr/phase/c/0/0/0", "/healthz"]
    paths += [f"{at}/frames/phase?format={kind}" for kind in ("npy", "npz", "png")]
    for path in paths:
        answer = api.http.get(path, headers=GZIP)
        assert answer.status_code == 200, path
        assert "Content-Encoding" not in answer.headers, path


# --- bodies


def test_a_compressed_body_is_refused_in_words(api: Api) -> None:
    body = gzip.compress(json.dumps(SPEC).encode())
    for path, kind in (("/v1/jobs", "application/json"), ("/v1/states", "application/octet-stream")):
        answer = api.http.post(path, data=body, content_type=kind, headers={"Content-Encoding": "gzip"})
        refused(answer, 415, "Content-Encoding = 'gzip'")
        assert answer.headers["Accept-Encoding"] == "identity"
    law = api.http.put("/v1/laws/x", data=body, content_type="application/zip", headers={"Content-Encoding": "br"})
    refused(law, 415, "'br'")
    assert api.http.post("/v1/jobs", json=SPEC, headers={"Content-Encoding": "identity"}).status_code == 202


# --- gunicorn's own refusals


@pytest.mark.parametrize(
    ("request_text", "status", "named"),
    [
        (f"GET /v1/jobs?tag={'x' * 5000} HTTP/1.1\r\nHost: localhost\r\n\r\n", 414, "4094 bytes"),
        (f"GET /v1/jobs HTTP/1.1\r\nHost: localhost\r\nX-Long: {'x' * 9000}\r\n\r\n", 431, "8190 bytes"),
        ("GET / HTTP/1.1\r\nHost: localhost\r\n" + "X-A: 1\r\n" * 101 + "\r\n", 431, "100 fields"),
        ("GET / HTTP/9.9\r\nHost: localhost\r\n\r\n", 400, "HTTP"),
        ("GET / HTTP/1.1\r\nHost: localhost\r\nbad header\r\n\r\n", 400, "header"),
        ("POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: rot13\r\n\r\n", 501, "rot13"),
    ],
)
def test_what_the_server_refuses_by_itself_is_a_problem_too(
    service, request_text: str, status: int, named: str
) -> None:
    address = urlsplit(service.url)
    with socket.create_connection((address.hostname, address.port), timeout=240) as connection:
        connection.sendall(request_text.encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.decode().lower().split("\r\n")
    assert lines[0].split()[1] == str(status), answer
    assert "content-type: application/problem+json" in lines
    assert f"content-length: {len(body)}" in lines
    problem = json.loads(body)
    assert problem["status"] == status, problem
    assert problem["title"], problem
    assert named.lower() in problem["detail"].lower(), problem
