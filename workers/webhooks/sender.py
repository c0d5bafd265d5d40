"""WebhookSender: the thread that delivers the events of jobs and sweeps that have ended.

It runs in every worker and in the supervisor, beside the reaper, whose leader delivers. Two leaders at once, until they
agree, deliver no event twice: each reserves what it attempts.
"""

from __future__ import annotations

import http.client
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from leym import __version__
from leym.jobs.table import JobTable
from leym.jobs.webhooks import Attempt, Delivery
from leym.settings import Settings
from workers.outages import TABLE_UNAVAILABLE
from workers.webhooks import signing
from workers.webhooks.post import SHOWN, Refused, post

log = logging.getLogger(__name__)

PERIOD_S = 1.0
AT_ONCE = 8  # attempts at the same time
TIMEOUT_S = 10.0  # of one attempt
RESERVE_S = 120.0  # after which the attempt of a sender that died is made again; resolving a name may take a minute
FORGET_S = 3600.0  # time between two removals of old deliveries


class WebhookSender:
    """Makes a pass every PERIOD_S while it is the leader."""

    def __init__(self, table: JobTable, settings: Settings, is_leader: Callable[[], bool]):
        """Prepare the thread.

        Args:
            table: The job table.
            settings: Whether private addresses may be called.
            is_leader: Returns whether this process delivers.
        """
        self.table, self.settings, self.is_leader = table, settings, is_leader
        self._stopped = threading.Event()
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="webhook")
        self._free = threading.Semaphore(AT_ONCE)
        self._forgot_at = 0.0
        self._thread = threading.Thread(target=self._run, name="webhooks", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Begin no further attempt, and wait for those under way, a few seconds at most."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()
        self._pool.shutdown(cancel_futures=True)

    def run_once(self) -> int:
        """Make deliveries of new events, begin the attempts whose time has come, and return their number."""
        self.table.queue_events()
        begun = 0
        while self._free.acquire(blocking=False):
            taken = self.table.take(1, RESERVE_S)
            if not taken or self._stopped.is_set():
                self._free.release()
                break
            self._pool.submit(self._attempt, taken[0])
            begun += 1
        return begun

    def deliver(self, delivery: Delivery) -> Attempt:
        """Make one attempt, and record it."""
        body = (delivery.body or "").encode()
        at, began = time.time(), time.monotonic()
        status, error, final = None, None, False
        try:
            headers = {"content-type": "application/json", "user-agent": f"leym/{__version__}"}
            headers |= signing.headers(self.table.webhook_secrets(delivery.project), delivery.id, at, body)
            private = self.settings.webhook_private
            status = post(delivery.url, body, headers, timeout_s=TIMEOUT_S, allow_private=private)
        except Refused as refused:
            error, final = str(refused), True
        except (OSError, http.client.HTTPException, ValueError) as failed:  # ValueError: a name that no resolver takes
            error = f"{type(failed).__name__}: {failed}"[:SHOWN]
        else:
            if 300 <= status < 400:
                error = f"it answered {status}; redirects are not followed"
            elif not 200 <= status < 300:
                error = f"it answered {status}"
        attempt = Attempt(at, status, time.monotonic() - began, error)
        found = self.table.record(delivery.id, attempt, final=final)
        if error:
            log.info("webhook %s of %s, attempt %d: %s", delivery.id, delivery.subject, found.attempts, error)
        return attempt

    def _attempt(self, delivery: Delivery) -> None:
        try:
            self.deliver(delivery)
        except TABLE_UNAVAILABLE as error:
            log.warning("webhook %s: the job table does not answer, so it is attempted again: %s", delivery.id, error)
        except Exception:
            log.exception("webhook %s: the attempt failed, and is made again", delivery.id)
        finally:
            self._free.release()

    def _run(self) -> None:
        while not self._stopped.wait(PERIOD_S):
            try:
                if not self.is_leader():
                    continue
                self.run_once()
                if time.monotonic() - self._forgot_at > FORGET_S:
                    self._forgot_at = time.monotonic()
                    self.table.forget_deliveries()
            except TABLE_UNAVAILABLE as error:
                log.warning("no webhooks are called: the job table does not answer: %s", error)
