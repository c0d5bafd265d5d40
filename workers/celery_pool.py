"""SlotPool: the Celery pool whose threads are the batch buffer.

Celery sees an ordinary task per job: its own start, end, acknowledgement and revocation. Behind that, all jobs share
one engine thread: a pool thread only waits until its job has left its slot. The pool's size is the fetch credit, so
the worker takes a ticket when there is room for its job and leaves it to others when there is none. A full one has
credit for one more when a ticket waits that is more urgent than what it holds: the engine swaps another out for it.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import Any

from celery.concurrency.thread import ApplyResult, TaskPool

from leym.contract.problems import Problem
from leym.settings import USAGE, settings
from workers.job_runner import Cancelled, HandBack, Host

log = logging.getLogger(__name__)

Accepted = Callable[[int, float], None]
Done = Callable[[Any], None]


class Ticket(ApplyResult):
    """One job in this pool. The broker may deliver its ticket again while it runs: the copies share the outcome."""

    def __init__(self, pool: SlotPool, job_id: str):
        self.pool, self.job_id = pool, job_id
        self.copies: list[tuple[Accepted, Done]] = []
        self.accepted = False
        self.lock = threading.Lock()

    def attach(self, accepted: Accepted, done: Done) -> None:
        with self.lock:
            self.copies.append((accepted, done))
            if self.accepted:
                accepted(os.getpid(), monotonic())

    def accept(self) -> None:
        """The job has a slot: Celery tells `task-started`."""
        with self.lock:
            if not self.accepted:
                self.accepted = True
                for accepted, _ in self.copies:
                    accepted(os.getpid(), monotonic())

    def terminate(self, signal: Any = None) -> None:
        """Revoked while it runs or waits."""
        self.pool.host.cancel(self.job_id)


class SlotPool(TaskPool):
    """See the module."""

    signal_safe = False  # stopping waits for the engine, which a signal handler must not
    host: Host

    def on_start(self) -> None:
        self.tickets: dict[str, Ticket] = {}
        self.lock = threading.Lock()
        self.host = self.app.host = Host.open(settings(), getattr(self.app, "worker_name", "worker"), self.announce)
        self.executor = ThreadPoolExecutor(self.host.credit.most)
        try:
            self.host.start()
        except Problem as problem:  # of a setting that needs the laws to be judged
            print(problem.detail, file=sys.stderr)
            raise SystemExit(USAGE) from problem

    @property
    def num_processes(self) -> int:
        """The fetch credit (`worker_disable_prefetch`): none while draining."""
        return 0 if self.host.draining() else self.host.credit.now

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
        assert callback is not None and accept_callback is not None
        with self.lock:
            if found := self.tickets.get(correlation_id):
                found.attach(accept_callback, callback)
                return found
            ticket = self.tickets[correlation_id] = Ticket(self, correlation_id)
            ticket.attach(accept_callback, callback)
        future = self.executor.submit(self._carry, ticket, target, args or (), kwargs or {})
        ApplyResult.__init__(ticket, future)
        return ticket

    def _carry(self, ticket: Ticket, target: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        outcome, told = None, True
        try:
            outcome = target(*args, **kwargs)  # Celery's tracer around the task, which waits in Host.carry
        except Cancelled:
            log.debug("ticket %s was revoked", ticket.job_id)
        except HandBack:
            told = False  # not acknowledged: Celery gives the ticket back to the queue
        with self.lock:
            del self.tickets[ticket.job_id]
        if told:
            ticket.accept()  # a job revoked before it had a slot is announced here
        if outcome is not None:
            for _, done in ticket.copies:  # acknowledges, then tells `task-succeeded` or `task-failed`
                done(outcome)

    def announce(self, job_id: str) -> None:
        """The engine has given the job a slot."""
        with self.lock:
            ticket = self.tickets.get(job_id)
        if ticket:
            ticket.accept()

    def terminate_job(self, pid: int, signal: Any = None) -> None:
        """Nothing to signal: `Ticket.terminate`, which Celery calls next, does the work."""

    def on_stop(self) -> None:
        """The consumer has stopped, the broker's channel is open still: save every job and hand it back."""
        self.host.drain()
        super().on_stop()

    on_terminate = on_stop

    def _get_info(self) -> dict[str, Any]:
        return {**super()._get_info(), **self.host.engine.info()}
