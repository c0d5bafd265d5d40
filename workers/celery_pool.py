"""SlotPool: the Celery pool whose threads are the batch buffer.

Celery sees one ordinary task per job, with its own start, end, acknowledgement and revocation. All tasks share one
engine: a pool thread only waits until its job has left the worker. The number of tickets that the worker fetches is its
`FetchLimit`: it takes a ticket when there is room for the job, and leaves it to other workers when there is none.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from time import monotonic
from typing import Any

from celery.concurrency.thread import ApplyResult, TaskPool

from leym.contract.problems import Problem
from leym.settings import USAGE, settings
from workers.claimed_job import HandedBack, Revoked
from workers.job_runner import JobRunner

log = logging.getLogger(__name__)

Accepted = Callable[[int, float], None]
Done = Callable[[Any], None]


class Ticket(ApplyResult):
    """One job's ticket in this pool.

    The broker may deliver a ticket again while its job runs: all copies share one execution and its outcome.
    """

    def __init__(self, pool: SlotPool, job_id: str):
        self.pool, self.job_id = pool, job_id
        self.copies: list[tuple[Accepted, Done]] = []
        self.accepted = False
        self.lock = threading.Lock()

    def attach(self, accepted: Accepted, done: Done) -> None:
        """Add the callbacks of one delivery."""
        with self.lock:
            self.copies.append((accepted, done))
            if self.accepted:
                accepted(os.getpid(), monotonic())

    def accept(self) -> None:
        """Let Celery send `task-started`, because the job has a slot."""
        with self.lock:
            if not self.accepted:
                self.accepted = True
                for accepted, _ in self.copies:
                    accepted(os.getpid(), monotonic())

    def terminate(self, signal: Any = None) -> None:
        """Free the job's slot, because the ticket was revoked."""
        self.pool.job_runner.cancel(self.job_id)


class SlotPool(TaskPool):
    """Celery's thread pool, with a JobRunner behind its threads; see the module."""

    signal_safe = False  # stopping waits for the engine, which a signal handler must not do
    job_runner: JobRunner

    def on_start(self) -> None:
        """Start the worker's JobRunner and as many threads as it may ever hold tickets."""
        self.tickets: dict[str, Ticket] = {}
        self.lock = threading.Lock()
        name = getattr(self.app, "worker_name", "worker")
        self.job_runner = self.app.job_runner = JobRunner.open(settings(), name, self.accept)
        self.executor = ThreadPoolExecutor(self.job_runner.fetch_limit.maximum)
        try:
            self.job_runner.start()
        except Problem as problem:  # a setting is wrong that can only be checked with the laws, as LEYM_WARM
            print(problem.detail, file=sys.stderr)
            raise SystemExit(USAGE) from problem

    @property
    def num_processes(self) -> int:
        """The fetch limit, which Celery reads with `worker_disable_prefetch`; 0 while the worker drains."""
        return 0 if self.job_runner.draining() else self.job_runner.fetch_limit.current

    def on_apply(
        self,
        target: Callable[..., Any],
        args: tuple[Any, ...] | None = None,
        kwargs: dict[str, Any] | None = None,
        callback: Done | None = None,
        accept_callback: Accepted | None = None,
        correlation_id: str = "",
        **_: Any,
    ) -> Ticket:
        """Run the task of a ticket in a thread, or attach the ticket to the same job's task that runs already."""
        if callback is None or accept_callback is None:
            raise TypeError("SlotPool.on_apply needs callback and accept_callback")
        with self.lock:
            if found := self.tickets.get(correlation_id):
                found.attach(accept_callback, callback)
                return found
            ticket = self.tickets[correlation_id] = Ticket(self, correlation_id)
            ticket.attach(accept_callback, callback)
        future = self.executor.submit(self._run, ticket, target, args or (), kwargs or {})
        future.add_done_callback(lambda ended: _log_error(ended, correlation_id))
        ApplyResult.__init__(ticket, future)
        return ticket

    def _run(self, ticket: Ticket, target: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        result, handed_back = None, False
        try:
            result = target(*args, **kwargs)  # Celery's tracer around the task, which waits in JobRunner.run
        except Revoked:
            log.debug("ticket %s was revoked", ticket.job_id)
        except HandedBack:
            handed_back = True  # not acknowledged: Celery returns the ticket to the queue
        with self.lock:
            del self.tickets[ticket.job_id]
        if not handed_back:
            ticket.accept()  # for a job that was revoked before it had a slot
        if result is not None:
            for _, done in ticket.copies:  # acknowledges, then sends `task-succeeded` or `task-failed`
                done(result)

    def accept(self, job_id: str) -> None:
        """Let Celery send `task-started` for a job that got a slot."""
        with self.lock:
            ticket = self.tickets.get(job_id)
        if ticket:
            ticket.accept()

    def terminate_job(self, pid: int, signal: Any = None) -> None:
        """Do nothing: there is no process to signal, and Celery calls `Ticket.terminate` next."""

    def on_stop(self) -> None:
        """Save every job and hand it back: the consumer has stopped, and the broker's channel is still open."""
        self.job_runner.drain()
        super().on_stop()

    on_terminate = on_stop

    def _get_info(self) -> dict[str, Any]:
        return {**super()._get_info(), **self.job_runner.engine.info()}


def _log_error(ended: Future[None], job_id: str) -> None:
    """Log what a pool thread raised: Celery never asks for it, and the job would leave the worker without a word."""
    if not ended.cancelled() and (error := ended.exception()):
        log.error("ticket %s: its task could not be ended in Celery", job_id, exc_info=error)
