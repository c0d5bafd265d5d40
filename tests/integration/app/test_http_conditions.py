"""Conditions and ranges of requests for results, as RFC 9110 (sections 13 and 14) has them."""

from __future__ import annotations

import hashlib
import io
import shutil
import subprocess
import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from werkzeug.serving import make_server

from app import downloads
from tests.support.api import Api, Pretender, done, opened, refused

FROM_THE_STORE = (
    "store.zarr/zarr.json",
    "store.zarr/phase/zarr.json",
    "store.zarr/phase/c/0/0/0",
    "store.zarr/step_2/c/0",
)
DOWNLOADS = (
    "frames/phase?format=npy",
    "frames/phase?format=npz",
    "frames/phase?format=png&scale=1",
    "frames/phase?format=gif&scale=1",
    "frames/phase?format=webp&scale=1",
    "observables?format=csv",
    "observables?format=npz",
)
DATE = "Mon, 01 Jan 2035 00:00:00 GMT"


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with opened(tmp_path_factory.mktemp("api")) as found:
        yield found


@pytest.fixture(scope="module")
def job(api: Api) -> str:
    return done(api)


@pytest.fixture
def small_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Downloads are written to the disk first, as large ones are."""
    monkeypatch.setattr(downloads, "IN_MEMORY", 1000)


@pytest.fixture(params=["at its own path", "behind a shared link"])
def at(request: pytest.FixtureRequest, api: Api, job: str) -> str:
    return f"/v1/jobs/{job}" if request.param == "at its own path" else shared(api, job)


def shared(api: Api, job: str) -> str:
    link: str = api.http.post(f"/v1/jobs/{job}/links", json={}).json["frames"]
    return link.removesuffix("/frames")


@pytest.mark.parametrize("path", FROM_THE_STORE + DOWNLOADS)
def test_ranges_are_parts_of_the_whole_under_its_tag(
    api: Api, job: str, at: str, path: str, small_memory: None
) -> None:
    if path.startswith("observables"):
        at = f"/v1/jobs/{job}"  # links give frames and the store only
    whole = api.http.get(f"{at}/{path}")
    body, size, etag = whole.data, len(whole.data), whole.headers["ETag"]
    assert whole.status_code == 200
    assert whole.headers["Accept-Ranges"] == "bytes"
    assert etag == f'"{hashlib.sha256(body).hexdigest()}"', "a strong validator: it stands for these bytes"
    spans = {
        "0-9": (0, 10),
        "5-": (5, size),
        "-7": (size - 7, size),
        f"0-{size * 2}": (0, size),
        f"-{size * 2}": (0, size),
    }
    for text, (start, stop) in spans.items():
        for unit in ("bytes", "BYTES"):
            part = api.http.get(f"{at}/{path}", headers={"Range": f"{unit}={text}"})
            assert part.status_code == 206, text
            assert part.data == body[start:stop], text
            assert part.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{size}"
            assert part.headers["Content-Length"] == str(stop - start)
            assert part.headers["ETag"] == etag
    for text in (f"bytes={size}-", "bytes=-0"):
        out = api.http.get(f"{at}/{path}", headers={"Range": text})
        refused(out, 416, text, str(size))
        assert out.headers["Content-Range"] == f"bytes */{size}"
    for text in (
        "bytes=5-3",
        "bytes=-",
        "bytes=0-1,3-4",
        "frames=0-1",
        "bytes=" + "9" * 5000 + "-",
        "bytes",
        "0-9",
        "",
    ):
        assert api.http.get(f"{at}/{path}", headers={"Range": text}).data == body, "no range that is served"
    head = api.http.head(f"{at}/{path}", headers={"Range": "bytes=0-9"})  # ranges are defined for GET alone (14.2)
    assert (head.status_code, head.data, head.headers["Content-Length"]) == (200, b"", str(size))
    assert head.headers["ETag"] == etag


@pytest.mark.parametrize("path", ["store.zarr/phase/c/0/0/0", "frames/phase?format=npy"])
def test_a_range_is_served_only_of_the_body_that_if_range_names(api: Api, at: str, path: str) -> None:
    whole = api.http.get(f"{at}/{path}")
    etag = whole.headers["ETag"]
    ask = lambda condition: api.http.get(f"{at}/{path}", headers={"Range": "bytes=0-9", "If-Range": condition})  # noqa: E731
    assert (ask(etag).status_code, ask(etag).data) == (206, whole.data[:10])
    for other in ('"of another body"', f"W/{etag}", DATE, etag.strip('"'), "*", f'{etag}, "x"'):
        found = ask(other)
        assert (found.status_code, found.data) == (200, whole.data), f"If-Range: {other}"
    beyond = {"Range": "bytes=99999999-", "If-Range": '"of another body"'}
    assert api.http.get(f"{at}/{path}", headers=beyond).status_code == 200, "the range does not count"


@pytest.mark.parametrize("path", ["store.zarr/phase/c/0/0/0", "frames/phase?format=npy"])
def test_conditions_come_before_ranges_and_in_their_order(api: Api, at: str, path: str) -> None:
    etag = api.http.get(f"{at}/{path}").headers["ETag"]
    table: list[tuple[dict[str, str], int]] = [
        ({"If-None-Match": etag}, 304),
        ({"If-None-Match": f"W/{etag}"}, 304),
        ({"If-None-Match": f'"x", {etag}'}, 304),
        ({"If-None-Match": "*"}, 304),
        ({"If-None-Match": '"x"'}, 200),
        ({"If-None-Match": etag, "Range": "bytes=0-9"}, 304),
        ({"If-None-Match": '"x"', "Range": "bytes=0-9"}, 206),
        ({"If-None-Match": etag, "Range": "bytes=0-9", "If-Range": '"x"'}, 304),
        ({"If-None-Match": etag, "Range": "bytes=99999999-"}, 304),
        ({"If-Match": etag}, 200),
        ({"If-Match": "*"}, 200),
        ({"If-Match": f'"x", {etag}', "Range": "bytes=0-9"}, 206),
        ({"If-Match": f"W/{etag}"}, 412),
        ({"If-Match": '"x"'}, 412),
        ({"If-Match": '"x"', "If-None-Match": etag, "Range": "bytes=0-9"}, 412),
        ({"If-Match": etag, "If-None-Match": etag}, 304),
        ({"If-Modified-Since": DATE}, 200),  # without a Last-Modified there is nothing to compare
        ({"If-Unmodified-Since": DATE}, 200),
    ]
    for headers, status in table:
        for method in ("GET", "HEAD"):
            found = api.http.open(f"{at}/{path}", method=method, headers=headers)
            expected = 200 if method == "HEAD" and status == 206 else status
            assert found.status_code == expected, (method, headers)
            if status == 304:
                assert found.data == b""
                assert found.headers["ETag"] == etag
                assert found.headers["Cache-Control"]


@pytest.mark.parametrize("path", DOWNLOADS)
def test_a_download_has_the_same_bytes_again(api: Api, job: str, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first = api.http.get(f"/v1/jobs/{job}/{path}").data
    monkeypatch.setattr("time.time", lambda: 2_000_000_000.0)
    monkeypatch.setattr("time.localtime", lambda *_: (2033, 5, 18, 5, 33, 20, 2, 138, 0))  # npz files hold dates
    assert api.http.get(f"/v1/jobs/{job}/{path}").data == first


@pytest.fixture
def listening(api: Api) -> Iterator[str]:
    server = make_server("127.0.0.1", 0, api.app, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl")
@pytest.mark.parametrize("format", ["npy", "npz"])
def test_curl_goes_on_with_a_download_that_was_cut_off(
    api: Api, job: str, listening: str, format: str, tmp_path: Path
) -> None:
    address = f"/v1/jobs/{job}/frames/psi?format={format}"
    whole, file = api.http.get(address).data, tmp_path / "psi"
    command = ["curl", "-sS", "--fail", "-C", "-", "-o", str(file), listening + address]
    for there in (1, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:there])
        subprocess.run(command, check=True, timeout=240)
        assert file.read_bytes() == whole
    assert len(np.load(io.BytesIO(file.read_bytes()), allow_pickle=False))


def test_nothing_of_a_job_that_grows_is_kept_or_promised_to_go_on(api: Api) -> None:
    """Its files are others at the next request; a part of one and a part of the next are no file at all."""
    job = api.submit()
    worker = Pretender(api, job)
    worker.run(12)
    worker.commit()
    own, link = f"/v1/jobs/{job}", shared(api, job)
    paths = [f"{own}/{path}" for path in (*FROM_THE_STORE, *DOWNLOADS, "frames", "observables")]
    paths += [f"{link}/{path}" for path in (*FROM_THE_STORE, *DOWNLOADS[:5])]
    assert {api.http.get(path).headers["Cache-Control"] for path in paths} == {"no-store"}
    for path in DOWNLOADS:
        found = api.http.get(f"{own}/{path}", headers={"Range": "bytes=5-"})
        assert found.status_code == 200
        assert found.headers["Accept-Ranges"] == "none"
    grown = [api.http.get(f"{own}/store.zarr/phase/c/0/0/0").headers["ETag"]]
    for until in (15, 18):
        worker.run(until)
        worker.commit()
        found = api.http.get(f"{own}/store.zarr/phase/c/0/0/0", headers={"Range": "bytes=5-", "If-Range": grown[-1]})
        assert found.status_code == 200, "the part belongs to another body"
        grown.append(found.headers["ETag"])
    assert all(a != b for a, b in pairwise(grown))
    worker.run(30)
    worker.finish()
    chunks, rest = (sorted(p for p in paths if ("/c/0" in p) is is_chunk) for is_chunk in (True, False))
    assert all("private" in api.http.get(p).headers["Cache-Control"] for p in chunks)
    assert all("immutable" in api.http.get(p).headers["Cache-Control"] for p in chunks)
    assert {api.http.get(p).headers["Cache-Control"] for p in rest} == {"no-cache"}


def test_the_table_of_a_sweep_is_kept_once_its_jobs_have_ended(api: Api) -> None:
    sweep = api.http.post(
        "/v1/sweeps", json={"base": {"law": "aurora", "grid": [8, 8], "steps": 5}, "axes": {"seed": [1, 2]}}
    )
    table = f"/v1/sweeps/{sweep.json['id']}/table?format=csv"
    assert api.http.get(table).headers["Cache-Control"] == "no-store"
    api.http.post(f"/v1/sweeps/{sweep.json['id']}/cancel")
    found: Any = api.http.get(table)
    assert found.headers["Cache-Control"] == "no-cache"
    assert api.http.get(table, headers={"If-None-Match": found.headers["ETag"]}).status_code == 304
