"""`leym up`: runs the whole service on one machine: broker, API, workers and Flower as children of one supervisor.

At SIGINT or SIGTERM the workers save their jobs and hand them back; then the other processes end, the broker last.
"""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import httpx2
import typer

from leym import tickets
from leym.cli.output import FAILED, note
from leym.common.loopback import bypass_proxies_for_loopback
from leym.common.typed_numbers import whole
from leym.contract.records import SIMULATION, TRAINING
from leym.events import Events
from leym.frames.stores.open import open_store
from leym.jobs.table import JobTable, open_table
from leym.settings import Settings, settings
from workers import processes
from workers.broker import Broker, only_one
from workers.maintenance.collector import Collector
from workers.outages import TABLE_UNAVAILABLE
from workers.processes import Child
from workers.reaper import Reaper
from workers.supervisor.autoscaler import MAX_WORKERS, Limits, autoscale_range
from workers.supervisor.fleet import Fleet, training_limits
from workers.webhooks.sender import WebhookSender

log = logging.getLogger("leym.up")

TICK_S = 0.5
READY_S = 180.0
API_GRACE_S, FLOWER_GRACE_S, BROKER_GRACE_S = 20.0, 5.0, 10.0
_NEEDS_NO_QUOTES = re.compile(r"[A-Za-z0-9_./+:@=,-]+")
RESTART_S = 1.0  # pause before a server that ended by itself is started again
FLOWER_PORT = 5555
FLOWER_MAX_TASKS = "--max-tasks=10000"  # 6 kB each; the default is ten times as many
MAX_SLOTS = 1024  # of a worker


@dataclass(frozen=True)
class Options:
    """The options of `leym up`.

    Attributes:
        data: folder of everything that is kept.
        port: port of the API; 0 for any that is free.
        workers: worker processes, unless `autoscale` is set.
        autoscale: least and most worker processes.
        slots: universes that a worker runs at once; None for LEYM_SLOTS.
        no_flower: do not start Flower.
        verbose: show the logs of all processes, not only warnings.
        as_json: announce the service as one line of JSON.
    """

    data: Path
    port: int
    workers: int
    autoscale: tuple[int, int] | None
    slots: int | None
    no_flower: bool
    verbose: bool
    as_json: bool = False


class Supervisor:
    """Starts, watches and ends the processes of the service."""

    def __init__(self, options: Options):
        self.options = options
        self.stopping = threading.Event()
        self._servers: dict[str, tuple[Child, Callable[[], Child]]] = {}
        self._restart_at: dict[str, float] = {}

    def run(self) -> None:
        """Run the service until `stopping` is set.

        Raises:
            OSError: A process cannot be started, or the port is taken.
            RuntimeError: The broker does not answer.
        """
        data: Path = self.options.data.absolute()
        data.mkdir(parents=True, exist_ok=True)
        os.environ["LEYM_DATA"] = str(data)
        if self.options.slots:
            os.environ["LEYM_SLOTS"] = str(self.options.slots)
        settings.cache_clear()
        bypass_proxies_for_loopback(os.environ)
        configured = settings()
        with only_one(data):
            self.env = _environment(configured, data)
            table = open_table(configured)
            if not configured.redis_url:
                broker = Broker(data / "valkey")
                self._serve("valkey", lambda: broker.start(self.env))
                self.env["LEYM_REDIS_URL"] = broker.url
                configured = configured.model_copy(update={"redis_url": broker.url})
            tickets.configure(configured)
            events = Events(configured.redis_url)
            reaper = Reaper(table, events, configured)
            webhooks = WebhookSender(table, configured, reaper.is_leader)
            collector = Collector(table, open_store(configured.store), configured)
            minimum, maximum = self.options.autoscale or (self.options.workers, self.options.workers)
            limits = Limits(minimum, maximum, configured.autoscale_idle_s)
            level = "INFO" if self.options.verbose else "WARNING"
            fleet = Fleet(table, configured, limits, self.env, log_level=level)
            training = training_limits(configured, elsewhere=maximum == 0)
            trainers = Fleet(table, configured, training, self.env, kind=TRAINING, log_level=level)
            try:
                reaper.start()
                webhooks.start()
                collector.start()
                if not self.options.no_flower:
                    self._start_flower()
                url = self._start_api()
                self._watch(fleet, trainers, table, configured, url)
            finally:
                say("ending: workers save their jobs first")
                collector.stop()
                webhooks.stop()
                reaper.stop()
                trainers.drain()
                fleet.drain()
                for name, grace in (("flower", FLOWER_GRACE_S), ("api", API_GRACE_S), ("valkey", BROKER_GRACE_S)):
                    if name in self._servers:
                        self._servers[name][0].end(grace)
                events.close()
                table.close()

    def _watch(self, fleet: Fleet, trainers: Fleet, table: JobTable, configured: Settings, url: str) -> None:
        ready, warn_at = False, time.monotonic() + READY_S
        while not self.stopping.is_set():
            self._restart_servers()
            try:
                fleet.tick()
                trainers.tick()
                if not ready and _api_is_ready(url) and _workers_are_ready(table, configured, fleet.limits.minimum):
                    where, flower = self.options.data.absolute(), self.env.get("LEYM_FLOWER_URL")
                    announced = {"url": url, "data": str(where), "flower": flower}
                    print(json.dumps(announced) if self.options.as_json else f"ready {url}", flush=True)
                    say(f"the API is at {url}; data folder {where}; {_expected(fleet.limits)}; Ctrl-C ends it")
                    if flower:
                        say(f"Flower is at {flower}")
                    ready = True
            except TABLE_UNAVAILABLE as error:
                log.warning("the job table does not answer: %s", error)
            if not ready and time.monotonic() > warn_at:
                log.warning("not ready after %.0f s; still trying", READY_S)
                warn_at = float("inf")
            self.stopping.wait(TICK_S)

    def _start_api(self) -> str:
        # bound here, so that the port is taken before it is announced, and stays open while gunicorn restarts
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
        # bound here, as for the API: Flower takes seconds to start, and another service may look for a port meanwhile
        try:
            listener = socket.create_server(("127.0.0.1", FLOWER_PORT))
        except OSError:  # the port is taken
            listener = socket.create_server(("127.0.0.1", 0))
        port, handle = listener.getsockname()[1], listener.fileno()
        level = "info" if self.options.verbose else "error"
        command = [sys.executable, "-m", "leym.flower", f"--fd={handle}", f"--logging={level}", FLOWER_MAX_TASKS]
        env = self.env | {"FLOWER_UNAUTHENTICATED_API": "true"}  # it listens on loopback, like the API
        self._serve("flower", lambda: processes.start("flower", command, env, pass_fds=[handle]))
        self._flower_listener = listener
        self.env["LEYM_FLOWER_URL"] = f"http://127.0.0.1:{port}"  # for the page

    def _serve(self, name: str, start: Callable[[], Child]) -> None:
        self._servers[name] = start(), start

    def _restart_servers(self) -> None:
        for name, (child, start) in list(self._servers.items()):
            if child.exit_code is None:
                continue
            restart_at = self._restart_at.setdefault(name, time.monotonic() + RESTART_S)
            if time.monotonic() >= restart_at:
                log.error("%s ended with code %s and is started again", name, child.exit_code)
                del self._restart_at[name]
                try:
                    self._serve(name, start)
                except (OSError, RuntimeError) as error:  # the other processes continue meanwhile
                    log.error("%s does not start, trying again: %s", name, error)


def say(text: str) -> None:
    """Print a message for the person who starts the service; standard output has one line: `ready URL`."""
    print(f"leym up: {text}", file=sys.stderr, flush=True)


def _expected(limits: Limits) -> str:
    if limits.maximum == 0:
        return "workers run elsewhere"
    if limits.minimum == 0:
        return "workers start when jobs wait"
    return f"{limits.minimum} worker{'s' if limits.minimum > 1 else ''}"


def _environment(configured: Settings, data: Path) -> dict[str, str]:
    """Return the environment of the child processes."""
    env = os.environ | configured.environment() | {"PYTHONUNBUFFERED": "1"}
    _set_compile_cache(env, data)
    # torch's threads spin for some ms by default while they wait, which stalls them when cores are contended
    env.setdefault("GOMP_SPINCOUNT", "10000")
    # by default glibc has many arenas, and the fragmentation of each lets memory grow as long as jobs come
    env.setdefault("MALLOC_ARENA_MAX", "2")
    return env


def _set_compile_cache(env: dict[str, str], data: Path) -> None:
    """Keep compiled laws in the data folder, where they outlive the service.

    If the folder's name needs quotes in a shell, torch's default folder is used: torch writes its compiler commands
    without quotes.
    """
    folder = data / "cache" / "inductor"
    if _NEEDS_NO_QUOTES.fullmatch(str(folder)):
        env.setdefault("TORCHINDUCTOR_CACHE_DIR", str(folder))


def _api_is_ready(url: str) -> bool:
    try:
        return httpx2.get(f"{url}/readyz", timeout=5, trust_env=False).status_code == 200  # without a proxy
    except httpx2.TransportError:
        return False


def _workers_are_ready(table: JobTable, configured: Settings, minimum: int) -> bool:
    return (
        sum(w.state == "ready" and w.kind == SIMULATION for w in table.workers(5 * configured.heartbeat_s)) >= minimum
    )


def folder(text: str) -> Path:
    """Parse the name of a folder, which may not be empty."""
    if not text:
        raise typer.BadParameter("expected a folder; it is empty")
    return Path(text)


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def up(
    data: Annotated[
        Path | None, typer.Option(parser=folder, help="folder of everything that is kept; default: LEYM_DATA")
    ] = None,
    port: Annotated[int, typer.Option(parser=whole(0, 65535), help="port of the API; 0: any that is free")] = 8000,
    workers: Annotated[
        int | None,
        typer.Option(
            parser=whole(0, MAX_WORKERS), help="worker processes, one per device; 0: they run elsewhere; default: 1"
        ),
    ] = None,
    autoscale: Annotated[
        str | None, typer.Option(metavar="MIN:MAX", help="start workers by backlog; MIN may be 0")
    ] = None,
    slots: Annotated[
        int | None, typer.Option(parser=whole(1, MAX_SLOTS), help="universes that a worker runs at once")
    ] = None,
    no_flower: Annotated[bool, typer.Option("--no-flower", help="do not start Flower")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="show the logs of all processes, not only warnings")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="when it is ready, one line of JSON on stdout in place of `ready URL`")
    ] = False,
) -> None:
    """Start API, broker, workers and Flower, until Ctrl-C."""
    if workers is not None and autoscale is not None:
        raise typer.BadParameter("not allowed with --workers", param_hint="'--autoscale'")
    try:
        limits = None if autoscale is None else autoscale_range(autoscale)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="'--autoscale'") from error
    several = 1 if workers is None else workers
    run(Options(data or settings().data, port, several, limits, slots, no_flower, verbose, as_json))


def run(options: Options) -> None:
    """Run the service until SIGINT or SIGTERM; exit with code 1 when it cannot start."""
    logging.basicConfig(
        level=logging.INFO if options.verbose else logging.WARNING,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    supervisor = Supervisor(options)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: supervisor.stopping.set())
    try:
        supervisor.run()
    except (OSError, RuntimeError) as error:
        note(f"leym up: {error}")
        raise typer.Exit(FAILED) from error


if __name__ == "__main__":
    app(prog_name="leym up")
