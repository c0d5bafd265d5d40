"""Wake-ups over a Redis stream: "something of this job was committed". The truth is in the job table.

One thread per process reads the stream, however many event streams and long polls wait in the process.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from typing import Any
from weakref import WeakValueDictionary

from redis import Redis
from redis.exceptions import RedisError

log = logging.getLogger(__name__)

STREAM = "leym:events"
KEPT = 10_000  # entries of the stream; readers only need the newest
REMEMBERED = 10_000  # jobs whose last wake-up this process remembers
BLOCK_MS = 5_000
OUTAGE_S = 1.0  # delay after a failure; also how often waiters poll the job table during an outage


class Events:
    """Announces changes of jobs, and waits for them. Without Redis (None), and during an outage, waiting only sleeps.

        cursor = events.cursor(job_id)                     # before reading the job table, so that nothing is missed
        job = table.get(job_id)
        cursor = events.wait(job_id, cursor, timeout_s)    # returns at once if something came after `cursor`

    A job_id of None stands for all jobs. Safe to use from several threads.
    """

    def __init__(self, redis_url: str | None):
        self._url = redis_url
        self._redis: Any = _connect(redis_url) if redis_url else None
        self._count = 0  # wake-ups so far
        self._last: OrderedDict[str, int] = OrderedDict()  # job -> number of its last wake-up
        self._lock = threading.Lock()
        # one condition for each job that is waited for: a wake-up costs as many threads as wait for its job, not all
        self._conditions: WeakValueDictionary[str | None, threading.Condition] = (
            WeakValueDictionary()
        )  # kept by waiters
        self._listener: threading.Thread | None = None
        self._started = threading.Event()
        self._listening = False
        self._outage_until = 0.0
        self._closed = threading.Event()

    def announce(self, job_id: str, step: int, state: str) -> None:
        """Wake everybody who waits for this job. Does nothing during a Redis outage."""
        if self._redis is None or time.monotonic() < self._outage_until:
            return
        try:
            self._redis.xadd(STREAM, {"job": job_id, "step": step, "state": state}, maxlen=KEPT, approximate=True)
        except RedisError as error:
            self._outage_until = time.monotonic() + OUTAGE_S
            log.warning("Redis does not accept wake-ups (%s); waiting clients poll the job table", error)

    def cursor(self, job_id: str | None) -> str:
        """Return a cursor behind everything that was announced so far."""
        self._listen()
        with self._lock:
            return str(self._count)

    def wait(self, job_id: str | None, cursor: str | None, timeout_s: float) -> str | None:
        """Wait until something was announced after `cursor` (None: from now on).

        Returns:
            The new cursor, or `cursor` after `timeout_s` seconds. During a Redis outage, `cursor` after at most a
            second.
        """
        self._listen()
        with self._lock:
            changed = self._conditions.setdefault(job_id, threading.Condition(self._lock))
            seen = self._count if cursor is None else int(cursor)
            if not self._listening:
                timeout_s = min(timeout_s, OUTAGE_S)
            woken = changed.wait_for(lambda: self._closed.is_set() or self._latest(job_id) > seen, timeout_s)
            return str(self._latest(job_id)) if woken and not self._closed.is_set() else cursor

    @property
    def is_listening(self) -> bool:
        """Return whether wake-ups reach this process. It may be False for a second after Redis has come back."""
        return self._listening

    def close(self) -> None:
        """End all waits and close the connections. The listener closes its own connection within BLOCK_MS.

        A connection that another thread reads from must not be closed here. Over TLS, that thread would continue to
        read from the same file descriptor, which may belong to another file by then.
        """
        with self._lock:
            self._closed.set()
            for changed in list(self._conditions.values()):
                changed.notify_all()
        if self._redis is not None:
            self._redis.connection_pool.disconnect(inuse_connections=False)

    def _latest(self, job_id: str | None) -> int:
        return self._count if job_id is None else self._last.get(job_id, 0)

    def _listen(self) -> None:
        """Start the listener at first use, so that each forked process has its own."""
        with self._lock:
            if self._url is None or self._redis is None:
                return
            if self._listener is None:
                self._listener = threading.Thread(target=self._read, args=(self._url,), name="events", daemon=True)
                self._listener.start()
        self._started.wait(2.0)

    def _read(self, url: str) -> None:
        with _connect(url) as redis:
            self._read_from(redis)

    def _read_from(self, redis: Any) -> None:
        at = ""
        while not self._closed.is_set():
            try:
                if not at:
                    newest = redis.xrevrange(STREAM, count=1)
                    at = newest[0][0] if newest else "0-0"
                self._listening = True
                self._started.set()
                for _, entries in redis.xread({STREAM: at}, block=BLOCK_MS) or ():
                    at = entries[-1][0]
                    self._wake([fields["job"] for _, fields in entries])
            except (RedisError, OSError) as error:
                self._listening = False
                self._started.set()
                log.warning("no wake-ups from Redis (%s); trying again", error)
                time.sleep(OUTAGE_S)

    def _wake(self, jobs: list[str]) -> None:
        with self._lock:
            for job in jobs:
                self._count += 1
                self._last[job] = self._count
                self._last.move_to_end(job)
            while len(self._last) > REMEMBERED:
                self._last.popitem(last=False)
            for job_id in {*jobs, None}:
                if changed := self._conditions.get(job_id):
                    changed.notify_all()


def _connect(url: str) -> Redis:
    """Connect with a time-out above BLOCK_MS, so that a blocking read is not taken for a dead server."""
    return Redis.from_url(url, decode_responses=True, socket_timeout=BLOCK_MS / 1000 + 5, socket_connect_timeout=2)
