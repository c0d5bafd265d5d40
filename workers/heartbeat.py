"""Heartbeat: the thread that renews a worker's leases and reports the worker to the job table."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Sequence

from leym.contract.records import TRAINING, Worker
from leym.engine.engine import Engine
from leym.jobs.table import JobTable
from leym.settings import Settings
from workers.claimed_job import ClaimedJob
from workers.fetch_limit import FetchLimit
from workers.outages import TABLE_UNAVAILABLE

log = logging.getLogger(__name__)

SHORTEST_S = 0.02  # time between two beats, at least

# keys of `Engine.info` that a heartbeat passes on
ENGINE_INFO = (
    "slot_steps",
    "batch_steps",
    "busy_s",
    "stepping_s",
    "recording_s",
    "bursts",
    "members",
    "swapped_out",
    "parked",
    "roofline",
    "idle_share",
    "degraded",
    "loading",
    "waiting_runs",
)


class Heartbeat:
    """Beats every LEYM_HEARTBEAT_S: reports the worker, fails overdue jobs, steers, renews leases.

    It asks the engine too, so a worker whose engine hangs falls silent and loses its leases.

    Attributes:
        state: What the worker reports: starting, ready, paused or draining.
        ready_s: Seconds from the start of the process until the worker was ready; 0 before.
    """

    def __init__(
        self,
        name: str,
        table: JobTable,
        engine: Engine,
        settings: Settings,
        fetch_limit: FetchLimit,
        claimed_jobs: Callable[[], Sequence[ClaimedJob]],
        on_fatal: Callable[[BaseException], None],
    ):
        """Prepare the thread.

        Args:
            name: The worker's, which owns its leases.
            table: Where leases and reports are written.
            engine: The engine to report.
            settings: Periods of leases and heartbeats.
            fetch_limit: The limit to update.
            claimed_jobs: Returns the jobs in this worker.
            on_fatal: Called when the thread fails, for nothing would renew the leases any more.
        """
        self.name, self.table, self.engine, self.settings = name, table, engine, settings
        self.fetch_limit, self.claimed_jobs, self.on_fatal = fetch_limit, claimed_jobs, on_fatal
        self.state, self.ready_s = "starting", 0.0
        self._started_at = time.time()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread and wait for its end."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    def report(self) -> None:
        """Write the worker's state, load and speed to the job table."""
        info = self.engine.info()
        busy_s = info["busy_s"]
        if self.settings.worker == TRAINING:
            info |= {"slots": 1, "busy": len(self.claimed_jobs())}
        self.table.heartbeat(
            Worker(
                name=self.name,
                host=socket.gethostname(),
                pid=os.getpid(),
                device=info["device"],
                state=self.state,
                slots=info["slots"],
                busy=info["busy"],
                waiting=info["waiting"],
                buckets=info["buckets"],
                cell_steps=info["cell_steps"],
                cell_steps_per_s=info["cell_steps"] / busy_s if busy_s else 0.0,
                idle_since=time.time() - info["idle_s"] if info["idle_s"] and not self.claimed_jobs() else None,
                started_at=self._started_at,
                kind=self.settings.worker,
                info={key: info[key] for key in ENGINE_INFO} | {"ready_s": round(self.ready_s, 2)},
            )
        )

    def _run(self) -> None:
        try:
            self._beat_until_stopped()
        except Exception as error:
            log.exception("the heartbeat thread failed: nothing would renew the leases")
            self.on_fatal(error)

    def _beat_until_stopped(self) -> None:
        renew_s = self.settings.lease_s / 3
        renewed = time.monotonic()
        while not self._stopped.wait(min(self.settings.heartbeat_s, renew_s, self._until_deadline_s())):
            try:
                self.report()
                claimed = self.claimed_jobs()
                for job in claimed:
                    job.fail_if_overdue()
                self._steer(claimed)
                self.fetch_limit.update([job.job.priority for job in claimed])
                if time.monotonic() - renewed >= renew_s - 0.5:
                    renewed = time.monotonic()
                    self._renew_leases()
            except TABLE_UNAVAILABLE as error:
                log.warning("no heartbeat: the job table does not answer: %s", error)

    def _until_deadline_s(self) -> float:
        """Return the seconds until the first deadline of a claimed job passes, at least SHORTEST_S."""
        deadlines = [job.job.deadline_at for job in self.claimed_jobs() if not job.outcome.done()]
        left_s = min((at for at in deadlines if at is not None), default=float("inf")) - time.time()
        return max(left_s, SHORTEST_S)

    def _steer(self, claimed: Sequence[ClaimedJob]) -> None:
        """Apply interventions of which the broker has not told this worker."""
        asked = self.table.asked_to_change([job.job.id for job in claimed]) if claimed else ()
        for job in claimed:
            if job.job.id in asked:
                job.steer()

    def _renew_leases(self) -> None:
        claimed = {job.job.id: job for job in self.claimed_jobs()}
        if not claimed:
            return
        epochs = {job_id: job.job.epoch for job_id, job in claimed.items()}
        renewed = self.table.renew(self.name, epochs, self.settings.lease_s)
        for job_id, job in claimed.items():
            if job_id not in renewed:
                job.give_up("it was cancelled, its deadline passed, or another worker claimed it")
