"""JobRunner: the heart of a worker, which takes a job from its ticket to its end.

The way of a job through a worker:

1. `TicketConsumer` (celery_consumer.py) discards messages that are not tickets.
2. `SlotPool` (celery_pool.py) runs the Celery task in one of its threads, which calls `JobRunner.run` and waits.
3. `JobRunner.run` claims the job in the job table (`JobTable.claim`): epoch + 1, a lease, one attempt.
   `Quarantine` lets the last attempt of a job run alone.
4. `build_run` (run_builder.py) makes a `Run` of the row: law, start state, newest checkpoint.
5. `JobSink.start` submits the run to the engine, which gives it a slot and steps it.
6. `JobSink` (sink.py) receives its results: the `FrameWriter` stores frames, a commit fenced by the epoch makes them
   visible, and an event wakes readers.
7. `JobSink.finished` makes the row final and sets `ClaimedJob.outcome`; `JobRunner.run` returns, and Celery
   acknowledges the ticket.

A fidelity job takes the same way with `FidelityJob` in the place of 4 to 6, and a training, in a worker of its own
kind, with `TrainingJob`. Meanwhile `Heartbeat` renews the leases.
The runner does not depend on Celery: a ticket is a call of `run`.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from typing import Any

from leym.contract.identity import DEFAULT
from leym.contract.problems import Problem
from leym.contract.records import TRAINING, Fenced, Job, JobState
from leym.engine.engine import Engine
from leym.events import Events
from leym.frames.stores.base import Store
from leym.frames.stores.open import open_store
from leym.jobs.table import JobTable, open_table
from leym.laws.registry import Registry, default_registry, project_laws_folder, project_registry
from leym.settings import Settings
from workers import compile_cache
from workers.claimed_job import ClaimedJob, HandedBack, WorkerContext
from workers.compile_cache import CompileCache
from workers.fetch_limit import FetchLimit
from workers.fidelity_job import FidelityJob
from workers.heartbeat import Heartbeat
from workers.maintenance.collector import Collector
from workers.processes import age_s
from workers.quarantine import Quarantine
from workers.readiness import make_ready
from workers.reaper import Reaper
from workers.run_builder import build_run
from workers.sink import JobSink
from workers.training_job import TrainingJob
from workers.webhooks.sender import WebhookSender

log = logging.getLogger(__name__)

FATAL = 70  # exit code after the engine thread died: a broken device context stays broken


class JobRunner:
    """Claims jobs, runs them in the engine, and waits for their end; see the module."""

    def __init__(
        self,
        settings: Settings,
        name: str,
        on_admitted: Callable[[str], None],
        *,
        table: JobTable,
        store: Store,
        events: Events,
        laws: Registry,
        engine: Engine,
    ):
        """Put the parts together; `start` starts them.

        Args:
            settings: The worker's settings.
            name: The worker's name, which owns its leases.
            on_admitted: Called with the ticket's id when its job gets a slot.
            table: The job table.
            store: The frame store.
            events: Announces commits to readers.
            laws: The laws of the default project.
            engine: The engine, not started.
        """
        self.settings, self.name, self.on_admitted = settings, name, on_admitted
        self.table, self.store, self.events, self.laws, self.engine = table, store, events, laws, engine
        self.quarantine = Quarantine()
        self.fetch_limit = FetchLimit(settings)
        self.reaper = Reaper(table, events, settings, name)
        self.webhooks = WebhookSender(table, settings, self.reaper.is_leader)
        self.collector = Collector(table, store, settings)
        folder = compile_cache.local_folder() if settings.ship_compiled else None
        kind = compile_cache.machine_kind(engine.device.kind) if folder else ""
        self.compile_cache = CompileCache(store, folder, kind) if folder else None
        self.heartbeat = Heartbeat(name, table, engine, settings, self.fetch_limit, self.claimed_jobs, _exit_process)
        self._claimed: dict[str, ClaimedJob] = {}
        self._lock = threading.Lock()
        self._draining = threading.Event()

    @classmethod
    def open(cls, settings: Settings, name: str, on_admitted: Callable[[str], None]) -> JobRunner:
        """Make a runner with the table, store, broker and engine that the settings name."""
        engine = Engine(  # of a training worker, it only tells the device
            1 if settings.worker == TRAINING else settings.slots,
            largest_batch=settings.largest_batch,
            compile=settings.compile,
            checkpoint_s=settings.checkpoint_s,
            batch_sizes=settings.batch_sizes_file,
            on_fatal=_exit_process,
        )
        return cls(
            settings,
            f"{name}:{os.getpid()}",
            on_admitted,
            table=open_table(settings),
            store=open_store(settings.store),
            events=Events(settings.redis_url or None),
            laws=default_registry(),
            engine=engine,
        )

    def start(self) -> None:
        """Start all threads and return when jobs can be served.

        The buckets named in LEYM_WARM are compiled by then; those of waiting jobs too, unless that takes long.
        """
        self.heartbeat.start()
        self.engine.start()
        if self.settings.worker != TRAINING:
            make_ready(self.engine, self.settings, self.table, self.laws, self.compile_cache)
        self.reaper.start()
        self.webhooks.start()
        self.collector.start()
        self.heartbeat.state, self.heartbeat.ready_s = "ready", age_s()
        log.info("ready after %.1f s", self.heartbeat.ready_s)
        self.heartbeat.report()

    def draining(self) -> bool:
        """Return whether this worker is ending."""
        return self._draining.is_set()

    def claimed_jobs(self) -> list[ClaimedJob]:
        """Return the jobs in this worker."""
        with self._lock:
            return list(self._claimed.values())

    def set_fetching(self, fetching: bool) -> None:
        """Report the worker as ready or, while remote control has stopped its fetching of tickets, as paused."""
        with self._lock:
            if self.heartbeat.state in ("ready", "paused"):
                self.heartbeat.state = "ready" if fetching else "paused"

    def run(self, job_id: str, ticket: str) -> dict[str, Any]:
        """Claim a job, run it, and block until it has left this worker.

        A job that cannot be claimed (final, claimed by another worker, or over its project's limit of running jobs)
        needs its ticket no more: the reaper sends another one when there is room.

        Args:
            job_id: The job that the ticket names.
            ticket: The id under which the pool knows the ticket.

        Returns:
            The outcome, as Flower shows it.

        Raises:
            HandedBack: The worker ends first, or the ticket was revoked.
        """
        if self.draining() or not self.quarantine.enter(job_id, self._is_last_attempt(job_id), self.draining):
            raise HandedBack
        try:
            claim = self.table.claim(job_id, self.name, self.settings.lease_s, self.settings.max_attempts)
            if claim is None:
                return {"job": job_id, "state": "not claimable"}
            return self._run_claimed(claim.job, ticket)
        finally:
            self.quarantine.release(job_id)

    def cancel(self, job_id: str) -> None:
        """Free the job's slot, because its ticket was revoked. Unknown jobs are ignored."""
        with self._lock:
            claimed = self._claimed.get(job_id)
        if claimed:
            claimed.revoke()

    def steer(self, job_id: str) -> None:
        """Apply the interventions that wait for a job. Unknown jobs are ignored."""
        with self._lock:
            claimed = self._claimed.get(job_id)
        if claimed:
            claimed.steer()

    def drain(self) -> None:
        """Claim no more jobs, save the claimed ones and hand them back; return when all of that is done."""
        with self._lock:
            self._draining.set()
            self.heartbeat.state = "draining"
        self.engine.drain()
        for claimed in self.claimed_jobs():  # those that have left the engine already
            claimed.hand_back()
        self.webhooks.stop()
        self.reaper.stop()
        self.collector.stop()
        if self.compile_cache:
            self.compile_cache.stop()
        self.heartbeat.stop()
        self.table.remove_worker(self.name)
        self.events.close()

    def _is_last_attempt(self, job_id: str) -> bool:
        last = max(1, self.settings.max_attempts - 1)
        return self.table.attempts(job_id) >= last

    def _run_claimed(self, job: Job, ticket: str) -> dict[str, Any]:
        try:
            claimed = self._build(job, ticket)
        except Problem as problem:
            return self._refuse(job, problem)
        except Fenced as fenced:
            return {"job": job.id, "state": "given up", "why": str(fenced)}
        except OSError as error:
            # when the lease expires, the next attempt finds the store reachable, or is one of a few
            log.warning("job %s: the store does not answer: %s", job.id, error)
            return {"job": job.id, "state": "interrupted", "why": "the store does not answer"}
        self._start(claimed)
        try:
            outcome = claimed.outcome.result()
            # the ticket of a job that was paused and resumed came while its old claim was still here, and was discarded
            if outcome.get("state") == "given up" and self.table.note_lost_ticket(job.id):
                self.reaper.wake()
            return outcome
        finally:
            with self._lock:
                # a job that was paused and resumed at once may be claimed again before its first claim has ended here
                if self._claimed.get(job.id) is claimed:
                    del self._claimed[job.id]
            if self.settings.quota_running:
                self.reaper.wake()  # another job of the project may have room now

    def _build(self, job: Job, ticket: str) -> ClaimedJob:
        context = WorkerContext(
            table=self.table,
            store=self.store,
            events=self.events,
            commit_s=self.settings.commit_s,
            on_admitted=lambda: self.on_admitted(ticket),
            on_progress=lambda: self.quarantine.release(job.id),
            draining=self.draining,
        )
        if job.is_training:
            return TrainingJob(job, context, project_laws_folder(job.project, self.settings.data))
        laws = self.laws if job.project == DEFAULT else project_registry(job.project, self.settings.data)
        if job.is_fidelity:
            return FidelityJob(job, context, self.engine, laws.resolve(job.law))
        sink = JobSink(job, context, self.engine)
        build_run(sink, laws)
        return sink

    def _start(self, claimed: ClaimedJob) -> None:
        with self._lock:
            if self.draining():
                self.table.hand_back(claimed.job.id, claimed.job.epoch)
                raise HandedBack
            self._claimed[claimed.job.id] = claimed
            claimed.fail_if_overdue()
            if not claimed.outcome.done():
                claimed.start()

    def _refuse(self, job: Job, problem: Problem) -> dict[str, Any]:
        """Fail a job that can never run; leave one that cannot run now (status 503) to its next attempt."""
        if problem.status == 503:
            log.warning("job %s: %s", job.id, problem)
            return {"job": job.id, "state": "interrupted", "why": problem.detail}
        try:
            self.table.finish(
                job.id, job.epoch, JobState.FAILED, step=job.step, manifest=job.manifest, error=problem.as_dict()
            )
        except Fenced as fenced:
            log.info("%s", fenced)
        self.events.announce(job.id, job.step, JobState.FAILED)
        return {"job": job.id, "state": "failed", "error": problem.detail}


def _exit_process(error: BaseException) -> None:
    """End this process at once; its jobs are queued again when their leases expire."""
    log.critical("this worker ends after a fatal error: %s; its jobs are queued again when their leases expire", error)
    logging.shutdown()
    os._exit(FATAL)
