"""The service of a chaos run: its processes, which faults can find by role, and orders to code inside them."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from leym.laws.bundle import Bundle
from tests.support.laws import oracle, random_law
from tests.support.paths import ROOT
from tests.support.service import Service, until

LEASE_S = 3.0
INSIDE = Path(__file__).with_name("inside")
ROLES = {"worker": b"workers.celery_app", "api": b"app.wsgi", "valkey": b"valkey-server"}


def laws(folder: Path) -> list[Bundle]:
    """Make one law per kind of state: cells only, cells with a memory, and cells with noise."""
    options = {"padding": "periodic", "update_rate": 0.5}
    return [
        random_law(folder / "tiny", "UNET"),
        random_law(folder / "noisy", "NCA", d=3, c=8, options=options),
        oracle("unet_convlstm", folder).bundle,
    ]


class Deployment:
    """`leym up` with two workers, on one of the two databases and one of the two stores."""

    def __init__(self, folder: Path, database: str = "", store: str = "", slots: int = 4):
        """Prepare it. database, store: URLs; empty for SQLite and files. slots: of each worker."""
        self.folder, self.database, self.store = folder, database, store
        self.orders = folder / "orders"
        self.orders.mkdir(parents=True)
        self.laws = [law.manifest.name for law in laws(folder / "data" / "laws")]
        path = os.pathsep.join([str(INSIDE), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        settings = {"LEYM_LEASE_S": str(LEASE_S), "LEYM_CHAOS": str(self.orders), "PYTHONPATH": path}
        settings |= {"LEYM_GC_S": "2", "LEYM_DATABASE_URL": database, "LEYM_STORE_URL": store}
        settings["LEYM_SLOTS"] = str(slots)
        self.service = Service(folder / "data", "--no-flower", "--workers", "2", **settings)

    @contextmanager
    def running(self) -> Iterator[Deployment]:
        """Start it; at the end stop all its processes and check that the service ended well."""
        try:
            self.start()
            yield self
        finally:
            code = self.service.stop()
        assert code == 0, self.service.tail()

    def start(self) -> None:
        self.service.start()
        alive = {path.name.split(".")[0] for path in (self.orders / "alive").iterdir()}
        assert {"worker", "api"} <= alive, f"sitecustomize does not run in worker and API: {alive}"

    @property
    def url(self) -> str:
        return self.service.url

    def pids(self, role: str) -> list[int]:
        return [pid for pid in _below(self.service.process.pid) if ROLES[role] in _command(pid)]

    def kill_everything(self) -> None:
        """Kill all processes and start them again: a power cut, except that the disk keeps all writes."""
        process = self.service.process
        for pid in [process.pid, *_below(process.pid)]:
            send(pid, signal.SIGKILL)
        process.wait()
        self.service.arguments = (*self.service.arguments, "--port", self.url.rsplit(":", 1)[1])
        self.start()

    @contextmanager
    def ordered(self, name: str, **what: Any) -> Iterator[Path]:
        """Give an order for the length of the block, or until a process takes it."""
        file = self.orders / name
        fresh = file.with_name(f"new.{name}")
        fresh.write_text(json.dumps(what))
        fresh.rename(file)
        try:
            yield file
        finally:
            file.unlink(missing_ok=True)

    def kill_at(self, point: str, within_s: float) -> bool:
        """Kill the first process that reaches a point; return whether one did in time."""
        taken = self.orders / f"taken.{point}"
        taken.unlink(missing_ok=True)
        with self.ordered(f"kill.{point}"):
            end = time.monotonic() + within_s
            while time.monotonic() < end and not taken.exists():
                time.sleep(0.01)
        return taken.exists()

    def postgresql_pids(self) -> list[int]:
        """Return the ids of the server and of its processes that serve clients."""
        found = re.search(r"host=([^&]+)", self.database)
        assert found, "no PostgreSQL here"
        server = int(Path(found[1], "data", "postmaster.pid").read_text().split()[0])
        return [server, *(pid for pid in _below(server) if b"[local]" in _command(pid))]

    def s3_pids(self) -> list[int]:
        return [pid for pid in _below(os.getpid()) if _command(pid).split(b"\0")[0].endswith(b"weed")]


def send(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass  # it has ended already


def gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def await_gone(pids: list[int]) -> None:
    until(lambda: all(map(gone, pids)), what="the killed processes are gone")


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _below(pid: int) -> list[int]:
    """Return the ids of a process's descendants."""
    parents: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            continue
        parents.setdefault(parent, []).append(int(stat.parent.name))
    found, left = [], [pid]
    while left:
        children = parents.get(left.pop(), [])
        found += children
        left += children
    return found
