"""The fleet: starts and drains worker processes as `autoscaler.decide` says. One process per device."""

from __future__ import annotations

import logging
import os
import re
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from leym.common.backoff import Backoff
from leym.contract.records import JobState, Worker
from leym.jobs.table import JobTable
from leym.settings import Settings
from workers import processes
from workers.processes import Child
from workers.supervisor.autoscaler import Decision, Limits, Look, Seen, decide

log = logging.getLogger(__name__)

ALIVE_HEARTBEATS = 5
LIVED_S = 60.0  # a worker that ends by itself earlier than this, and before it has computed anything, did not start
RESTART = Backoff(1.0, longest_s=60.0)  # of workers that crash one after the other
DRAIN_S = 90.0  # a worker told to go gets this long to save its jobs
COMMAND = "-m celery --quiet --app=workers.celery_app worker --without-mingle --without-gossip"


@dataclass
class Member:
    child: Child
    place: int  # which device; also the number in its name
    started: float
    worked: bool = False  # it has computed something
    draining_since: float | None = None


class Fleet:
    """Worker processes of this machine. Not thread-safe: the supervisor calls `tick` about once a second."""

    def __init__(
        self, table: JobTable, settings: Settings, limits: Limits, env: Mapping[str, str], *, log_level: str = "INFO"
    ):
        self.table, self.settings, self.limits = table, settings, limits
        self.env, self.log_level = {**env, **settings.environment()}, log_level
        self.members: list[Member] = []
        self._gpus = gpus()
        self._pressed = 0
        self._crashes = 0
        self._paused_until = 0.0
        if self._gpus and limits.most > len(self._gpus):
            log.warning("%d workers on %d GPUs: some share one", limits.most, len(self._gpus))

    def tick(self) -> Decision:
        """Look, decide, act. Raises sqlalchemy errors when the job table does not answer."""
        self._bury()
        look = self._look()
        decision = decide(look, self.limits)
        self._pressed = decision.pressed
        if decision.start or decision.drain:
            log.info("%s: start %d, drain %s; seen: %s", decision.why, decision.start, list(decision.drain), look)
        for _ in range(decision.start):
            self._start()
        for name in decision.drain:
            self._drain(name)
        return decision

    def drain(self) -> None:
        """Tell every worker to save its jobs and go; wait for that."""
        for member in self.members:
            member.child.ask_to_end()
        for member in self.members:
            code = member.child.end(DRAIN_S)
            log.info("%s ended with code %d", member.child.name, code)
        self.members = []

    def _look(self) -> Look:
        heard = {w.pid: w for w in self.table.workers(ALIVE_HEARTBEATS * self.settings.heartbeat_s)}
        now = time.time()
        live = [m for m in self.members if m.draining_since is None]
        for member in live:
            member.worked |= member.child.pid in heard and heard[member.child.pid].cell_steps > 0
        ready = [_seen(m, heard[m.child.pid], now) for m in live if _is_ready(heard.get(m.child.pid))]
        backlog = self.table.backlog()
        return Look(
            queued=self.table.counts().get(JobState.QUEUED, 0),
            cell_steps=backlog["cell_steps"],
            ready=tuple(ready),
            starting=len(live) - len(ready),
            pressed=self._pressed,
            paused=time.monotonic() < self._paused_until,
        )

    def _start(self) -> None:
        place = min(set(range(self.limits.most)) - {m.place for m in self.members}, default=None)
        if place is None:  # one that drains still has the last device
            return
        env = dict(self.env)
        if self._gpus:
            env["CUDA_VISIBLE_DEVICES"] = self._gpus[place % len(self._gpus)]
        elif self.limits.most > 1:  # workers on one CPU share its cores, always in the same way: threads decide bits
            env.setdefault("OMP_NUM_THREADS", str(max(1, len(os.sched_getaffinity(0)) // self.limits.most)))
        command = [sys.executable, *COMMAND.split(), f"--hostname=worker{place}@%h", f"--loglevel={self.log_level}"]
        child = processes.start(f"worker{place}", command, env)
        self.members.append(Member(child, place, time.monotonic()))

    def _drain(self, name: str) -> None:
        for member in self.members:
            if member.child.name == name:
                member.draining_since = time.monotonic()
                member.child.ask_to_end()

    def _bury(self) -> None:
        """Forget processes that have ended; wait before the next start when they crash."""
        now = time.monotonic()
        for member in list(self.members):
            if member.draining_since is not None and now - member.draining_since > DRAIN_S:
                member.child.end(0)
            code = member.child.exit_code
            if code is None:
                continue
            self.members.remove(member)
            if member.draining_since is not None:
                log.info("%s drained, code %d", member.child.name, code)
                continue
            lived = member.worked or now - member.started >= LIVED_S
            self._crashes = 1 if lived else self._crashes + 1
            pause = RESTART.delay_s(self._crashes - 1)
            self._paused_until = now + pause
            log.error("%s ended by itself with code %d; the next start waits %.0f s", member.child.name, code, pause)


def _seen(member: Member, worker: Worker, now: float) -> Seen:
    return Seen(
        name=member.child.name,
        busy=worker.busy,
        waiting=worker.waiting,
        slots=worker.slots,
        cell_steps_per_s=worker.cell_steps_per_s,
        idle_s=max(0.0, now - worker.idle_since) if worker.idle_since else 0.0,
    )


def _is_ready(worker: Worker | None) -> bool:
    return worker is not None and worker.state == "ready"


def gpus() -> list[str]:
    """Indices of the NVIDIA devices that this process may use; none on a CPU machine."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [index for index in chosen.split(",") if index.strip() not in ("", "-1")]
    found = (re.fullmatch(r"nvidia(\d+)", path.name) for path in Path("/dev").glob("nvidia*"))
    return sorted((match[1] for match in found if match), key=int)
