"""Fleet: starts and drains the worker processes of this machine, one per device, as `autoscaler.decide` chooses."""

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
from leym.contract.records import SIMULATION, TRAINING, JobState, Worker
from leym.jobs.table import JobTable
from leym.settings import Settings
from workers import processes
from workers.processes import Child
from workers.supervisor.autoscaler import Decision, Limits, Observation, WorkerLoad, decide

log = logging.getLogger(__name__)

ALIVE_HEARTBEATS = 5
FAILED_START_S = 60.0  # a worker that ends by itself within this time, before it has computed anything, did not start
RESTART = Backoff(1.0, longest_s=60.0)  # of workers that crash one after the other
DRAIN_S = 90.0  # a worker that is drained gets this long to save its jobs
COMMAND = "-m celery --quiet --app=workers.celery_app worker --without-mingle --without-gossip"


@dataclass
class WorkerProcess:
    """One worker process of the fleet.

    Attributes:
        child: The process.
        index: Number of its device, also in its name.
        started: When it was started, by the monotonic clock.
        worked: Whether it has computed something.
        draining_since: Time of the order to drain, by the monotonic clock.
    """

    child: Child
    index: int
    started: float
    worked: bool = False
    draining_since: float | None = None


class Fleet:
    """The worker processes of this machine. Not thread-safe: the supervisor calls `tick` about once a second."""

    def __init__(
        self,
        table: JobTable,
        settings: Settings,
        limits: Limits,
        env: Mapping[str, str],
        *,
        kind: str = SIMULATION,
        log_level: str = "INFO",
    ):
        """Start with no worker; `tick` starts them.

        Args:
            table: Where queue, backlog and heartbeats are read.
            settings: Passed to the workers in their environment.
            limits: Bounds of the number of workers.
            env: The workers' environment.
            kind: Kind of the workers.
            log_level: The workers' log level.
        """
        self.table, self.settings, self.limits = table, settings, limits
        self.kind, self.log_level = kind, log_level
        self.env = {**env, **settings.environment(), "LEYM_WORKER": kind}
        self.workers: list[WorkerProcess] = []
        self._gpus = gpus()
        self._overloaded_ticks = 0
        self._crashes = 0
        self._paused_until = 0.0
        if self._gpus and limits.maximum > len(self._gpus):
            log.warning("%d workers on %d GPUs: some share one", limits.maximum, len(self._gpus))

    def tick(self) -> Decision:
        """Observe, decide and act.

        Raises:
            sqlalchemy.exc.OperationalError: The job table does not answer; InterfaceError likewise.
        """
        self._remove_ended()
        seen = self._observe()
        decision = decide(seen, self.limits)
        self._overloaded_ticks = decision.overloaded_ticks
        if decision.start or decision.drain:
            log.info("%s: start %d, drain %s; seen: %s", decision.reason, decision.start, list(decision.drain), seen)
        for _ in range(decision.start):
            self._start()
        for name in decision.drain:
            self._drain(name)
        return decision

    def drain(self) -> None:
        """Let every worker save its jobs and end; wait for all of them."""
        for worker in self.workers:
            worker.child.terminate()
        for worker in self.workers:
            code = worker.child.end(DRAIN_S)
            log.info("%s ended with code %d", worker.child.name, code)
        self.workers = []

    def _observe(self) -> Observation:
        reports = {w.pid: w for w in self.table.workers(ALIVE_HEARTBEATS * self.settings.heartbeat_s)}
        now = time.time()
        live = [w for w in self.workers if w.draining_since is None]
        for worker in live:
            worker.worked |= worker.child.pid in reports and reports[worker.child.pid].cell_steps > 0
        ready = [_load(w, reports[w.child.pid], now) for w in live if _is_ready(reports.get(w.child.pid))]
        trainings = self.table.trainings()[JobState.QUEUED]
        if self.kind == TRAINING:  # their speed is not known: another worker is started when none is free
            queued, cell_steps = trainings, 0
        else:
            queued, cell_steps = (
                self.table.counts().get(JobState.QUEUED, 0) - trainings,
                self.table.backlog()["cell_steps"],
            )
        return Observation(
            queued=queued,
            cell_steps=cell_steps,
            ready=tuple(ready),
            starting=len(live) - len(ready),
            overloaded_ticks=self._overloaded_ticks,
            paused=time.monotonic() < self._paused_until,
        )

    def _start(self) -> None:
        index = min(set(range(self.limits.maximum)) - {w.index for w in self.workers}, default=None)
        if index is None:  # a draining worker still uses the last device
            return
        env = dict(self.env)
        if self._gpus:
            env["CUDA_VISIBLE_DEVICES"] = self._gpus[index % len(self._gpus)]
        elif self.limits.maximum > 1:  # share the CPU's cores equally, whatever runs: bits depend on the thread count
            env.setdefault("OMP_NUM_THREADS", str(max(1, len(os.sched_getaffinity(0)) // self.limits.maximum)))
        name = f"training{index}" if self.kind == TRAINING else f"worker{index}"
        command = [sys.executable, *COMMAND.split(), f"--hostname={name}@%h", f"--loglevel={self.log_level}"]
        child = processes.start(name, command, env)
        self.workers.append(WorkerProcess(child, index, time.monotonic()))

    def _drain(self, name: str) -> None:
        for worker in self.workers:
            if worker.child.name == name:
                worker.draining_since = time.monotonic()
                worker.child.terminate()

    def _remove_ended(self) -> None:
        """Forget processes that have ended; after a crash, pause before the next start."""
        now = time.monotonic()
        for worker in list(self.workers):
            if worker.draining_since is not None and now - worker.draining_since > DRAIN_S:
                worker.child.end(0)
            code = worker.child.exit_code
            if code is None:
                continue
            self.workers.remove(worker)
            if worker.draining_since is not None:
                log.info("%s drained, code %d", worker.child.name, code)
                continue
            had_started = worker.worked or now - worker.started >= FAILED_START_S
            self._crashes = 1 if had_started else self._crashes + 1
            pause = RESTART.delay_s(self._crashes - 1)
            self._paused_until = now + pause
            log.error("%s ended by itself with code %d; the next start waits %.0f s", worker.child.name, code, pause)


def training_limits(settings: Settings, *, elsewhere: bool = False) -> Limits:
    """Return the bounds of the workers of trainings: none while no training waits, at most LEYM_TRAINING_WORKERS.

    Args:
        settings: The settings.
        elsewhere: Whether workers run on other machines only.
    """
    return Limits(0, 0 if elsewhere else settings.training_workers, settings.autoscale_idle_s)


def _load(worker: WorkerProcess, report: Worker, now: float) -> WorkerLoad:
    return WorkerLoad(
        name=worker.child.name,
        busy=report.busy,
        waiting=report.waiting,
        slots=report.slots,
        cell_steps_per_s=report.cell_steps_per_s,
        idle_s=max(0.0, now - report.idle_since) if report.idle_since else 0.0,
    )


def _is_ready(report: Worker | None) -> bool:
    return report is not None and report.state == "ready"


def gpus() -> list[str]:
    """Return the indices of the NVIDIA devices that this process may use; empty on a CPU machine."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [index for index in visible.split(",") if index.strip() not in ("", "-1")]
    found = (re.fullmatch(r"nvidia(\d+)", path.name) for path in Path("/dev").glob("nvidia*"))
    return sorted((match[1] for match in found if match), key=int)
