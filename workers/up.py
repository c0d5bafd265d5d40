"""`leym up`: the whole service on one machine. Broker, API, workers and Flower as processes of one supervisor.

SIGINT or SIGTERM: workers save their jobs and hand them back, then everything ends, in an order in which nobody loses
what it still needs.
"""

from __future__ import annotations

import argparse
import fcntl
import logging
import os
import signal
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from sqlalchemy.exc import InterfaceError, OperationalError

from leym import tickets
from leym.events import Events
from leym.frames.store import open_store
from leym.jobs.table import JobTable, open_table
from leym.settings import Settings
from workers import processes
from workers.autoscaler import Limits, autoscale_range
from workers.broker import Broker, free_port
from workers.collector import Collector
from workers.fleet import Fleet
from workers.processes import Child
from workers.reaper import Reaper

log = logging.getLogger("leym.up")

TICK_S = 0.5
READY_S = 180.0
API_GRACE_S, FLOWER_GRACE_S, BROKER_GRACE_S = 20.0, 5.0, 10.0
RESTART_S = 1.0  # a server that ended by itself is started again after this
FLOWER_PORT = 5555
FLOWER_KEEPS = "--max-tasks=10000"  # 6 kB each; by itself it keeps ten times as many


class Supervisor:
    """Starts, watches and ends the processes."""

    def __init__(self, options: argparse.Namespace):
        self.options = options
        self.stopping = threading.Event()
        self._servers: dict[str, tuple[Child, Callable[[], Child]]] = {}
        self._again_at: dict[str, float] = {}

    def run(self) -> None:
        data: Path = self.options.data.absolute()
        data.mkdir(parents=True, exist_ok=True)
        with _only_one(data):
            self.env = os.environ | {"LEYM_DATA": str(data), "PYTHONUNBUFFERED": "1"}
            self.env.setdefault("TORCHINDUCTOR_CACHE_DIR", str(data / "cache" / "inductor"))
            # torch's threads wait for each other by spinning, some ms by default, and stall where others want the cores
            self.env.setdefault("GOMP_SPINCOUNT", "10000")
            # or glibc keeps an arena per thread, each with holes of its own: memory grows for as long as jobs come
            self.env.setdefault("MALLOC_ARENA_MAX", "2")
            if self.options.slots:
                self.env["LEYM_SLOTS"] = str(self.options.slots)
            if not self.env.get("LEYM_REDIS_URL"):
                broker = Broker(data / "valkey")
                self._serve("valkey", lambda: broker.start(self.env))
                self.env["LEYM_REDIS_URL"] = broker.url
            os.environ.update({k: v for k, v in self.env.items() if k.startswith("LEYM_")})
            settings = Settings()
            tickets.configure(settings)
            table, events = open_table(settings), Events(settings.redis_url)
            reaper = Reaper(table, events, settings)
            collector = Collector(table, open_store(settings.store), settings)
            least, most = self.options.autoscale or (self.options.workers, self.options.workers)
            fleet = Fleet(table, settings, Limits(least, most, settings.autoscale_idle_s), self.env)
            try:
                reaper.start()
                collector.start()
                url = self._start_api()
                if not self.options.no_flower:
                    self._start_flower()
                self._watch(fleet, table, settings, url)
            finally:
                log.info("ending: workers save their jobs first")
                collector.stop()
                reaper.stop()
                fleet.drain()
                for name, grace in (("flower", FLOWER_GRACE_S), ("api", API_GRACE_S), ("valkey", BROKER_GRACE_S)):
                    if name in self._servers:
                        self._servers[name][0].end(grace)
                events.close()
                table.close()

    def _watch(self, fleet: Fleet, table: JobTable, settings: Settings, url: str) -> None:
        said, end = False, time.monotonic() + READY_S
        while not self.stopping.is_set():
            self._restart_servers()
            try:
                fleet.tick()
                if not said and _api_is_ready(url) and _workers_are_ready(table, settings, fleet.limits.least):
                    print(f"ready {url}", flush=True)
                    said = True
            except (OperationalError, InterfaceError) as error:
                log.warning("the job table does not answer: %s", error)
            if not said and time.monotonic() > end:
                log.warning("not ready after %.0f s; still trying", READY_S)
                end = float("inf")
            self.stopping.wait(TICK_S)

    def _start_api(self) -> str:
        # bound here, so that the port is ours before it is announced and stays open while gunicorn restarts
        listener = socket.create_server(("127.0.0.1", self.options.port), backlog=1024)
        port, handle = listener.getsockname()[1], listener.fileno()
        command = [
            *(sys.executable, "-m", "gunicorn", "--config", "python:app.gunicorn"),
            *("--bind", f"fd://{handle}", "--log-level", "warning", "app.wsgi:app"),
        ]
        env = self.env | {"LEYM_URL": f"http://127.0.0.1:{port}"}
        self._serve("api", lambda: processes.start("api", command, env, pass_fds=[handle]))
        self._listener = listener
        return f"http://127.0.0.1:{port}"

    def _start_flower(self) -> None:
        port = FLOWER_PORT if _is_free(FLOWER_PORT) else free_port()
        command = [
            *(sys.executable, "-m", "leym.flower"),
            *("--address=127.0.0.1", f"--port={port}", "--logging=warning", FLOWER_KEEPS),
        ]
        env = self.env | {"FLOWER_UNAUTHENTICATED_API": "true"}  # on loopback, like the API
        self._serve("flower", lambda: processes.start("flower", command, env))
        log.info("Flower is at http://127.0.0.1:%d", port)

    def _serve(self, name: str, start: Callable[[], Child]) -> None:
        self._servers[name] = start(), start

    def _restart_servers(self) -> None:
        for name, (child, start) in list(self._servers.items()):
            if child.exit_code is None:
                continue
            due = self._again_at.setdefault(name, time.monotonic() + RESTART_S)
            if time.monotonic() >= due:
                log.error("%s ended with code %s and is started again", name, child.exit_code)
                del self._again_at[name]
                try:
                    self._serve(name, start)
                except (OSError, RuntimeError) as error:  # the others can do without it for a while
                    log.error("%s does not start, trying again: %s", name, error)


@contextmanager
def _only_one(data: Path) -> Iterator[None]:
    """Two services on one data folder would fight for its broker. Raises SystemExit."""
    with open(data / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.exit(f"leym up: another service runs on --data {data}")
        yield


def _api_is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _workers_are_ready(table: JobTable, settings: Settings, least: int) -> bool:
    return sum(w.state == "ready" for w in table.workers(5 * settings.heartbeat_s)) >= least


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def count(text: str, least: int = 1) -> int:
    if not text.isdigit() or not least <= int(text) <= 1024:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number from {least} to 1024")
    return int(text)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="leym up", description="Start API, broker, workers and Flower, until Ctrl-C.")
    parser.add_argument("--data", type=Path, default=Settings().data, help="folder of everything that is kept")
    parser.add_argument("--port", type=int, default=8000, help="of the API; 0: any that is free")
    fleet = parser.add_mutually_exclusive_group()
    fleet.add_argument(
        "--workers", type=partial(count, least=0), default=1, help="worker processes, one per device; 0: run elsewhere"
    )
    fleet.add_argument("--autoscale", type=autoscale_range, metavar="MIN:MAX", help="workers by backlog; MIN may be 0")
    parser.add_argument("--slots", type=count, help="universes that a worker runs at once")
    parser.add_argument("--no-flower", action="store_true", help="do not start Flower")
    options = parser.parse_args(arguments)
    if not 0 <= options.port <= 65535:
        parser.error(f"argument --port: {options.port} is not in 0 to 65535")
    return options


def main() -> None:
    options = parse()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    supervisor = Supervisor(options)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: supervisor.stopping.set())
    try:
        supervisor.run()
    except (OSError, RuntimeError) as error:
        sys.exit(f"leym up: {error}")


if __name__ == "__main__":
    main()
