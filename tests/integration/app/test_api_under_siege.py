"""The API as a server of its own: clients that hold what they are given keep out neither probes nor other callers, and
what the processes count depends on no file."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from app import shared_counters
from leym.contract.spec import JobSpec
from leym.jobs.table import JobTable
from leym.settings import Settings
from tests.support.paths import ROOT
from tests.support.service import until

SPEC = {"law": "aurora", "grid": [8, 8], "steps": 10}
UNSHARE = shutil.which("unshare")

pytestmark = pytest.mark.slow


class Api:
    """Gunicorn with the API's configuration, on a free loopback port."""

    def __init__(self, data: Path, *arguments: str, before: tuple[str, ...] = (), **env: str):
        listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.address = listener.getsockname()
        self.url = f"http://127.0.0.1:{self.address[1]}"
        command = [*before, sys.executable, "-m", "gunicorn", "--config", "python:app.gunicorn", *arguments]
        command += ["--bind", f"fd://{listener.fileno()}", "app.wsgi:app"]
        self.log = data / "api.log"
        kept = {k: v for k, v in os.environ.items() if not k.startswith("LEYM_")}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, env=kept | {"LEYM_DATA": str(data)} | env, cwd=ROOT, stdout=log, stderr=log,
                pass_fds=[listener.fileno()],
            )  # fmt: skip
        listener.close()
        self.http = httpx2.Client(base_url=self.url, timeout=240)
        assert self.http.get("/healthz").status_code == 200  # connected already, answered once it serves

    def workers(self) -> list[int]:
        return [int(pid) for pid in re.findall(r"Booting worker with pid: (\d+)", self.log.read_text())]

    def connect(self, sent: bytes) -> socket.socket:
        made = socket.create_connection(self.address, timeout=240)
        made.sendall(sent)
        return made

    def counted(self, name: str, **labels: str) -> float:
        families = text_string_to_metric_families(self.http.get("/metrics").text)
        return sum(
            s.value for f in families for s in f.samples if s.name == name and labels.items() <= s.labels.items()
        )

    def stop(self) -> None:
        self.http.close()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(240)


@contextlib.contextmanager
def serving(*arguments: Any, **options: Any) -> Iterator[Api]:
    api = Api(*arguments, **options)
    try:
        yield api
    finally:
        api.stop()


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """One server with small bounds, in one process, so that the bounds are those of the whole."""
    data = tmp_path_factory.mktemp("siege")
    bounds = {"STREAMS": "6", "STREAMS_EACH": "4", "TRANSFERS": "6", "TRANSFERS_EACH": "4", "HEAD_S": "0.5"}
    with serving(data, **{f"LEYM_{name}": value for name, value in bounds.items()}) as running:
        yield running


def answers(connection: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and the rest of what came, until the server closes the connection."""
    received = b""
    while piece := connection.recv(65536):
        received += piece
    return parsed(received)


def parsed(received: bytes) -> tuple[int, dict[str, str], bytes]:
    head, _, body = received.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return int(first.split()[1]), headers, body


def alive(api: Api) -> None:
    """Probes and ordinary requests of others are answered."""
    for path in ("/healthz", "/readyz", "/metrics", "/v1/jobs", "/"):
        assert api.http.get(path).status_code == 200, path
    answer = api.http.post("/v1/jobs", json=SPEC)
    assert answer.status_code == 202, answer.text


@pytest.mark.parametrize("part", ["nothing", "line", "head", "short body"])
def test_700_half_sent_requests_take_no_thread(tmp_path: Path, part: str) -> None:
    sent = {
        "nothing": b"",
        "line": b"GET /v1/jo",
        "head": b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nX-Slow: ",
        "short body": b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: 65536\r\n\r\n{",
    }[part]
    with serving(tmp_path, LEYM_HEAD_S="60") as api, contextlib.ExitStack() as held:
        for _ in range(700):
            held.enter_context(api.connect(sent))
        alive(api)


@pytest.mark.parametrize("sent", [b"", b"GET /", b"POST /v1/jobs HTTP/1.1\r\nContent-Length: 9\r\n\r\n{"])
def test_a_request_that_does_not_come_is_given_up(api: Api, sent: bytes) -> None:
    with api.connect(sent) as connection:
        if not sent:
            assert connection.recv(1) == b""
            return
        status, headers, body = answers(connection)
    assert status == 408
    assert headers["content-type"] == "application/problem+json"
    assert json.loads(body)["detail"] == "the request was not complete after 0.5 seconds"


def test_long_bodies_that_do_not_come_have_bounded_places(api: Api) -> None:
    claimed = b"POST /v1/states HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999999\r\n\r\nx"
    chunked = b"POST /v1/states HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n"
    expecting = b"POST /v1/states HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n"
    with contextlib.ExitStack() as held:
        for sent in (claimed, chunked, expecting) * 20:
            held.enter_context(api.connect(sent))
        alive(api)
        until(lambda: api.counted("leym_http_requests_total", route="/v1/states", status="429") >= 60 - 2 * 4)


def job_of(api: Api) -> str:
    return str(api.http.post("/v1/jobs", json=SPEC).json()["id"])


def open_stream(api: Api, held: contextlib.ExitStack, path: str, **headers: str) -> httpx2.Response:
    client = held.enter_context(httpx2.Client(base_url=api.url, timeout=240))
    return held.enter_context(client.stream("GET", path, headers=headers))


def test_streams_of_one_caller_are_bounded_and_their_places_come_back(api: Api) -> None:
    """Of two processes with 4 places each; which one accepts is up to the system."""
    job = job_of(api)
    for _ in range(2):
        until(lambda: places_found(api, job) >= 4, what="the places are given back")


def places_found(api: Api, job: str) -> int:
    """Open 30 streams at once and return how many found a place; those of the call before may come back meanwhile."""
    with contextlib.ExitStack() as held:
        found = [open_stream(api, held, f"/v1/jobs/{job}/events") for _ in range(30)]
        statuses = [answer.status_code for answer in found]
        assert statuses.count(200) <= 8
        assert statuses.count(200) + statuses.count(429) == 30
        refused = next(answer for answer in found if answer.status_code == 429)
        assert int(refused.headers["Retry-After"]) > 0
        refused.read()
        assert "this caller has 4 event streams and long polls open" in refused.json()["detail"]
        if statuses.count(200) == 8:
            assert api.http.get(f"/v1/jobs/{job}?wait=5").status_code == 429
        alive(api)
        return statuses.count(200)


def test_streams_of_all_callers_together_are_bounded(tmp_path: Path) -> None:
    table = JobTable(Settings(data=tmp_path).database)
    tokens = [table.create_token(str(i), ["submit", "read"])[1] for i in range(4)]
    spec = JobSpec.model_validate(SPEC)
    job = table.submit(spec, law="aurora@" + "a1" * 32, precision="fp32", d_state=4)[0].id
    table.close()
    with (
        serving(tmp_path, "--workers=1", LEYM_STREAMS="6", LEYM_STREAMS_EACH="4") as api,
        contextlib.ExitStack() as held,
    ):
        for token, expected in zip(tokens, ([200] * 4 + [429], [200, 200, 503], [503], [503]), strict=True):
            bearer = {"Authorization": f"Bearer {token}"}
            found = [open_stream(api, held, f"/v1/jobs/{job}/events", **bearer).status_code for _ in expected]
            assert found == expected
        assert (
            api.http.get(f"/v1/jobs/{job}?wait=9", headers={"Authorization": f"Bearer {tokens[2]}"}).status_code == 503
        )
        assert api.http.get(f"/v1/jobs/{job}", headers={"Authorization": f"Bearer {tokens[2]}"}).status_code == 200
        assert api.http.get("/healthz").status_code == 200


def test_probes_answer_when_every_thread_is_taken(tmp_path: Path) -> None:
    with serving(tmp_path, "--threads=1") as api, contextlib.ExitStack() as held:
        job = job_of(api)
        poll = f"GET /v1/jobs/{job}?wait=60 HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        for _ in range(8):
            held.enter_context(api.connect(poll))
        for path in ("/healthz", "/readyz", "/metrics") * 3:
            assert api.http.get(path).status_code == 200


# --- a connection as HTTP has it


REQUEST = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
LAST = b"GET /v1/jobs HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
BODY = json.dumps(SPEC).encode()


def post(*headers: bytes, body: bytes = BODY) -> bytes:
    head = (b"POST /v1/jobs HTTP/1.1", b"Host: localhost", b"Content-Type: application/json", b"Connection: close")
    return b"\r\n".join((*head, *headers)) + b"\r\n\r\n" + body


def test_requests_in_one_packet_are_answered_in_order(api: Api) -> None:
    with api.connect(REQUEST * 3 + LAST) as connection:
        received = b""
        while piece := connection.recv(65536):
            received += piece
    assert received.count(b"HTTP/1.1 200 OK") == 4
    assert received.count(b'{"status": "ok"}') == 3
    assert b'"items"' in received.rpartition(b"HTTP/1.1")[2]


def test_a_request_in_many_packets_is_one_request(api: Api) -> None:
    sent = post(b"Content-Length: %d" % len(BODY))
    with api.connect(b"") as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for i in range(len(sent)):
            connection.send(sent[i : i + 1])
        assert answers(connection)[0] == 202


def test_bodies_in_chunks_and_after_100_continue(api: Api) -> None:
    with api.connect(
        post(b"Transfer-Encoding: chunked", body=b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY))
    ) as connection:
        assert answers(connection)[0] == 202
    with api.connect(post(b"Content-Length: %d" % len(BODY), b"Expect: 100-continue", body=b"")) as connection:
        assert connection.recv(65536).startswith(b"HTTP/1.1 100")
        connection.sendall(BODY)
        assert answers(connection)[0] == 202
    long = BODY[:-1] + b" " * 200_000 + b"}"
    with api.connect(post(b"Content-Length: %d" % len(long), body=long)) as connection:
        assert answers(connection)[0] == 202


def test_a_head_without_an_end_is_refused(api: Api) -> None:
    with api.connect(b"GET /healthz HTTP/1.1\r\n" + b"X-Long: " + b"x" * 70_000) as connection:
        status, _, body = answers(connection)
    assert status == 431
    assert "32768" in json.loads(body)["detail"]
    with api.connect(b"GET /" + b"x" * 70_000) as connection:
        assert answers(connection)[0] == 414


# --- what is counted


def test_counters_need_no_files_and_go_on_in_a_replaced_process(tmp_path: Path) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    with serving(tmp_path, TMPDIR=str(temporary)) as api:
        for _ in range(20):
            assert api.http.get("/v1/jobs").status_code == 200
        before = api.counted("leym_http_requests_total", route="/v1/jobs", status="200")
        assert before == 20
        for left in list(temporary.iterdir()):
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        alive(api)
        killed = api.workers()
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        until(lambda: len(api.workers()) == 2 * len(killed), what=api.log.read_text())
        alive(api)
        assert api.counted("leym_http_requests_total", route="/v1/jobs", status="200") == before + 2
        assert api.counted("leym_http_request_duration_seconds_count", method="GET", route="/v1/jobs") == before + 2
        assert list(temporary.iterdir()) == []


READ_ONLY = 'mount -t tmpfs -o ro none /dev/shm && exec "$@"'


def can_mount() -> bool:
    command = [str(UNSHARE), "--map-root-user", "--mount", "sh", "-c", READ_ONLY, "sh", "true"]
    return UNSHARE is not None and subprocess.run(command, capture_output=True).returncode == 0


@pytest.mark.skipif(not can_mount(), reason="mounting in a namespace of one's own is not allowed here")
def test_the_api_starts_with_a_read_only_dev_shm(tmp_path: Path) -> None:
    within = (str(UNSHARE), "--map-root-user", "--mount", "sh", "-c", READ_ONLY, "sh")
    with serving(tmp_path, before=within) as api:
        alive(api)


def test_a_region_is_counted_on_and_what_does_not_fit_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    memory = bytearray(2 * shared_counters.REGION_BYTES)
    first = shared_counters.Region(memory, shared_counters.REGION_BYTES)
    first.add(("a", "GET", "/"))
    first.add(("a", "GET", "/"), 2.5)
    first.add(("b",))
    again = shared_counters.Region(memory, shared_counters.REGION_BYTES)
    again.add(("b",), 4)
    again.add(("ü", "x"))
    assert first.values() == {("a", "GET", "/"): 3.5, ("b",): 5, ("ü", "x"): 1}
    assert shared_counters.Region(memory).values() == {}, "another region"
    for i in range(5000):
        again.add(("many", str(i)))
    again.add(("x" * 300,))
    assert len(again.values()) == shared_counters.REGION_BYTES // 256 - 1
    assert "no room to count" in caplog.text
    assert not any(memory[: shared_counters.REGION_BYTES])
