"""A real S3 server for tests: SeaweedFS from its wheel, on free loopback ports, with a folder and a key of its own."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest

from leym.frames.stores.base import StoreUnavailable
from leym.frames.stores.open import open_store

SERVER = Path(sys.executable).with_name("weed")
BUCKET = "leym-tests"
PORTS = [f"{server}.port{kind}" for server in ("s3", "master", "filer", "volume", "admin") for kind in ("", ".grpc")]
# no WebDAV, web pages, catalogues or telemetry; small volumes, for it lays several out at once
PLAIN = "-ip=127.0.0.1 -ip.bind=127.0.0.1 -webdav=false -admin.ui=false -master.telemetry=false -s3.port.iceberg=0"
PLAIN += " -s3.port.lance=0 -master.volumeSizeLimitMB=64"
READY_S = 240

_number = count()


@dataclass(frozen=True)
class S3:
    """env: what a process needs to reach it, as AWS_* variables."""

    env: dict[str, str]

    def url(self) -> str:
        """An empty store."""
        return f"s3://{BUCKET}/t{next(_number)}"


def free_ports(n: int) -> list[int]:
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(n)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


@pytest.fixture(scope="session")
def s3() -> Iterator[S3]:
    """The server; this process reaches it too, for the environment says how."""
    folder = Path(tempfile.mkdtemp(prefix="leym-s3-"))
    ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
    env = {
        "AWS_ACCESS_KEY_ID": secrets.token_hex(8),
        "AWS_SECRET_ACCESS_KEY": secrets.token_hex(16),
        "AWS_ENDPOINT": f"http://127.0.0.1:{ports['s3.port']}",
        "AWS_ALLOW_HTTP": "true",
        "AWS_REGION": "us-east-1",
    }
    options = [f"-{name}={port}" for name, port in ports.items()]
    command = [
        str(SERVER),
        "-logtostderr=true",
        "mini",
        f"-dir={folder}",
        f"-bucket={BUCKET}",
        *PLAIN.split(),
        *options,
    ]
    with open(folder / "log", "wb") as log:
        server = subprocess.Popen(command, cwd=folder, env=os.environ | env, stdout=log, stderr=log)
    try:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in env.items():
                patch.setenv(name, value)
            _await(server, ports["s3.port"], folder / "log")
            yield S3(env)
    finally:
        server.send_signal(signal.SIGTERM)
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
        shutil.rmtree(folder)
        for port in ports.values():  # it leaves its sockets there
            for left in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
                left.unlink(missing_ok=True)


def _await(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    until = time.monotonic() + READY_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            open_store(f"s3://{BUCKET}").put("ready", b"")
            return
        except (StoreUnavailable, OSError):
            if server.poll() is not None or time.monotonic() > until:
                pytest.fail(f"the S3 server does not answer:\n{log.read_text()[-3000:]}")
            time.sleep(0.1)


@pytest.fixture(params=["file", "s3"])
def store_url(request, tmp_path) -> str:
    """Of an empty store."""
    if request.param == "file":
        return (tmp_path / "store").as_uri()
    return request.getfixturevalue("s3").url()
