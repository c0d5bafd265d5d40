"""Host: takes jobs out of the job table, runs them in the engine, and keeps what it holds leased.

It knows no Celery: a ticket is a call of `carry`, which returns when the job has left.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from leym.contract.identity import DEFAULT
from leym.contract.problems import Problem
from leym.contract.records import Fenced, Job, JobState, Worker
from leym.engine.engine import Engine
from leym.events import Events
from leym.frames.stores.base import Store
from leym.frames.stores.open import open_store
from leym.jobs.table import JobTable, open_table
from leym.laws.registry import Registry, default_registry, registry_of
from leym.settings import Settings
from workers import compile_cache, run_builder
from workers.claimed_job import Held, Place
from workers.compile_cache import Shipping
from workers.fetch_limit import Credit
from workers.fidelity_job import Judgement
from workers.maintenance.collector import Collector
from workers.processes import age_s
from workers.quarantine import Quarantine
from workers.readiness import make_ready
from workers.reaper import Reaper
from workers.sink import JobSink

log = logging.getLogger(__name__)

INFO = (
    "slot_steps",
    "lane_steps",
    "busy_s",
    "stepping_s",
    "swapped_out",
    "roofline",
    "idle_share",
    "degraded",
)  # of the engine, for a heartbeat
FATAL = 70  # exit code after the engine thread died: a broken device context stays broken


class HandBack(BaseException):
    """The job leaves this worker unfinished; another goes on. Not an Exception: Celery must not see a failure."""


class Cancelled(HandBack):
    """The ticket was revoked; Celery has announced and acknowledged that already."""


class Host:
    """`name` owns the leases. `announce` is told the id of each job that gets a slot."""

    def __init__(
        self,
        settings: Settings,
        name: str,
        announce: Callable[[str], None],
        *,
        table: JobTable,
        store: Store,
        events: Events,
        laws: Registry,
        engine: Engine,
    ):
        self.settings, self.name, self.announce = settings, name, announce
        self.table, self.store, self.events, self.laws, self.engine = table, store, events, laws, engine
        self._draining = threading.Event()
        self.quarantine = Quarantine()
        self.credit = Credit(settings)
        self.reaper = Reaper(table, events, settings, name)
        self.collector = Collector(table, store, settings)
        compiled = compile_cache.folder() if settings.ship_compiled else None
        self.shipping = Shipping(store, compiled, compile_cache.kind(engine.device.kind)) if compiled else None
        self._held: dict[str, Held] = {}
        self._lock = threading.Lock()
        self._started_at = time.time()
        self._state, self._ready_s = "starting", 0.0
        self._stopped = threading.Event()
        self._heart = threading.Thread(target=self._beat, name="heart", daemon=True)

    @classmethod
    def open(cls, settings: Settings, name: str, announce: Callable[[str], None]) -> Host:
        engine = Engine(
            settings.slots,
            compile=settings.compile,
            checkpoint_s=settings.checkpoint_s,
            rungs=settings.ladder,
            on_fatal=_end_the_process,
        )
        return cls(
            settings,
            f"{name}:{os.getpid()}",
            announce,
            table=open_table(settings),
            store=open_store(settings.store),
            events=Events(settings.redis_url or None),
            laws=default_registry(),
            engine=engine,
        )

    def start(self) -> None:
        """Returns when jobs can be served: laws named in LEYM_WARM are loaded and compiled by then, and those in use
        unless that takes long."""
        self._heart.start()
        self.engine.start()
        make_ready(self.engine, self.settings, self.table, self.laws, self.shipping)
        self.reaper.start()
        self.collector.start()
        self._state, self._ready_s = "ready", age_s()
        log.info("ready after %.1f s", self._ready_s)
        self._report()

    def draining(self) -> bool:
        """Whether this worker is on its way out."""
        return self._draining.is_set()

    def fetch(self, wanted: bool) -> None:
        """Whether tickets are fetched: remote control may stop that (`cancel_consumer`) and begin it again."""
        with self._lock:
            if self._state in ("ready", "paused"):
                self._state = "ready" if wanted else "paused"

    def carry(self, job_id: str, ticket: str) -> dict[str, Any]:
        """Run a job to its end. Returns what Flower shows; raises HandBack when the worker ends first.

        A job that cannot be claimed (final, held by another worker, or put off because its project has enough running)
        is none of ours: its ticket is done. The outbox sends another when there is room.
        """
        suspect = any(job.attempts >= max(1, self.settings.max_attempts - 1) for job in self.table.find([job_id]))
        if self.draining() or not self.quarantine.enter(job_id, suspect, self.draining):
            raise HandBack
        try:
            return self._carry(job_id, ticket)
        finally:
            self.quarantine.release(job_id)

    def _carry(self, job_id: str, ticket: str) -> dict[str, Any]:
        claim = self.table.claim(job_id, self.name, self.settings.lease_s, self.settings.max_attempts)
        if claim is None:
            return {"job": job_id, "state": "not claimable"}
        try:
            held = self._prepare(claim.job, ticket)
        except Problem as problem:
            return self._refuse(claim.job, problem)
        except Fenced as fenced:
            return {"job": job_id, "state": "given up", "why": str(fenced)}
        except OSError as error:
            # the lease runs out, and the next attempt finds the store in a better state, or counts as one of a few
            log.warning("job %s: the store does not answer: %s", job_id, error)
            return {"job": job_id, "state": "left"}
        with self._lock:
            if self.draining():
                self.table.hand_back(job_id, claim.epoch)
                raise HandBack
            self._held[job_id] = held
            held.check_deadline()
            if not held.outcome.done():
                held.begin()
        try:
            answer: dict[str, Any] = held.outcome.result()
            return answer
        finally:
            with self._lock:
                del self._held[job_id]
            if self.settings.quota_running:
                self.reaper.hurry()

    def cancel(self, job_id: str) -> None:
        """The ticket was revoked: free the slot. Unknown jobs are ignored."""
        with self._lock:
            sink = self._held.get(job_id)
        if sink:
            sink.leave(Cancelled())

    def drain(self) -> None:
        """Take no more; save and hand back what is held. Returns when all of it is done."""
        with self._lock:
            self._draining.set()
            self._state = "draining"
        self.engine.drain()
        with self._lock:
            left = list(self._held.values())
        for sink in left:  # those the engine did not know any more
            sink.released()
        self.reaper.stop()
        self.collector.stop()
        if self.shipping:
            self.shipping.stop()
        self._stopped.set()
        if self._heart.is_alive():
            self._heart.join()
        self.table.remove_worker(self.name)
        self.events.close()

    def _prepare(self, job: Job, ticket: str) -> Held:
        place = Place(
            table=self.table,
            store=self.store,
            events=self.events,
            commit_s=self.settings.commit_s,
            admitted=lambda: self.announce(ticket),
            proven=lambda: self.quarantine.release(job.id),
            handed_back=HandBack,
            draining=self.draining,
        )
        if job.judges:
            return Judgement(job, place, self.engine, self._laws_of(job).resolve(job.law))
        sink = JobSink(job, place, self.engine)
        run_builder.prepare(sink, self._laws_of(job))
        return sink

    def _laws_of(self, job: Job) -> Registry:
        return self.laws if job.project == DEFAULT else registry_of(job.project, self.settings.data)

    def _refuse(self, job: Job, problem: Problem) -> dict[str, Any]:
        if problem.status == 503:
            log.warning("job %s: %s", job.id, problem)
            return {"job": job.id, "state": "left"}
        try:
            self.table.finish(
                job.id, job.epoch, JobState.FAILED, step=job.step, manifest=job.manifest, error=problem.as_dict()
            )
        except Fenced as fenced:
            log.info("%s", fenced)
        self.events.announce(job.id, job.step, JobState.FAILED)
        return {"job": job.id, "state": "failed", "error": problem.detail}

    # --- the heart: leases and heartbeats

    def _beat(self) -> None:
        try:
            self._beat_until_stopped()
        except Exception as error:
            log.exception("the heart stopped: nothing would renew the leases")
            _end_the_process(error)

    def _beat_until_stopped(self) -> None:
        renew_s = self.settings.lease_s / 3
        renewed = time.monotonic()
        while not self._stopped.wait(min(self.settings.heartbeat_s, renew_s)):
            try:
                self._report()
                with self._lock:
                    held = list(self._held.values())
                for one in held:
                    one.check_deadline()
                self.credit.look([one.job.priority for one in held])
                if time.monotonic() - renewed >= renew_s - 0.5:
                    renewed = time.monotonic()
                    self._renew()
            except run_builder.TABLE_AWAY as error:
                log.warning("no heartbeat: the job table does not answer: %s", error)

    def _renew(self) -> None:
        with self._lock:
            held = dict(self._held)
        if not held:
            return
        kept = self.table.renew(self.name, {job: sink.job.epoch for job, sink in held.items()}, self.settings.lease_s)
        for job_id, sink in held.items():
            if job_id not in kept:
                sink.lost("it was cancelled, its deadline passed, or its lease went to another worker")

    def _report(self) -> None:
        info = self.engine.info()
        busy_s = info["busy_s"]
        self.table.heartbeat(
            Worker(
                name=self.name,
                host=socket.gethostname(),
                pid=os.getpid(),
                device=info["device"],
                state=self._state,
                slots=info["slots"],
                busy=info["busy"],
                waiting=info["waiting"],
                buckets=info["buckets"],
                cell_steps=info["cell_steps"],
                cell_steps_per_s=info["cell_steps"] / busy_s if busy_s else 0.0,
                idle_since=time.time() - info["idle_s"] if info["idle_s"] and not self._held else None,
                started_at=self._started_at,
                info={key: info[key] for key in INFO} | {"ready_s": round(self._ready_s, 2)},
            )
        )


def _end_the_process(error: BaseException) -> None:
    log.critical("this worker is lost: %s; leases return its jobs", error)
    logging.shutdown()
    os._exit(FATAL)
