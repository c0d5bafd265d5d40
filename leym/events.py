"""Wake-ups over a Redis stream: "something of this job was committed". They carry no truth: that is the job table.

One thread per process reads the stream, however many streams and long polls wait in the process.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

log = logging.getLogger(__name__)

STREAM = "leym:events"
KEPT = 10_000  # entries of the stream; nobody reads far back
REMEMBERED = 10_000  # jobs whose last wake-up this process remembers
BLOCK_MS = 5_000
OUTAGE_S = 1.0  # pause after a failure; waiters look by themselves as often


class Events:
    """Announces and awaits changes of jobs. Without a Redis (None), or while it is away, waiting is sleeping.

        cursor = events.cursor(job_id)                     # first, then read the job table: nothing is missed
        job = table.get(job_id)
        cursor = events.wait(job_id, cursor, timeout_s)    # returns at once if something came after `cursor`

    job_id None stands for all jobs. Safe to use from several threads.
    """

    def __init__(self, redis_url: str | None):
        self._url = redis_url
        self._redis: Any = _connect(redis_url) if redis_url else None
        self._heard = 0  # wake-ups so far
        self._last: OrderedDict[str, int] = OrderedDict()  # job -> its last wake-up
        self._changed = threading.Condition()
        self._listener: threading.Thread | None = None
        self._started = threading.Event()
        self._listening = False
        self._silent_until = 0.0
        self._closed = threading.Event()

    def announce(self, job_id: str, step: int, state: str) -> None:
        """Wake everybody who waits for this job. Never raises on a Redis outage."""
        if self._redis is None or time.monotonic() < self._silent_until:
            return
        try:
            self._redis.xadd(STREAM, {"job": job_id, "step": step, "state": state}, maxlen=KEPT, approximate=True)
        except RedisError as error:
            self._silent_until = time.monotonic() + OUTAGE_S
            log.warning("no wake-ups: Redis does not take them (%s); readers look by themselves", error)

    def cursor(self, job_id: str | None) -> str:
        """The place after everything announced so far."""
        self._listen()
        with self._changed:
            return str(self._heard)

    def wait(self, job_id: str | None, cursor: str | None, timeout_s: float) -> str | None:
        """Return the new cursor when something was announced after `cursor` (None: from now on), or `cursor` itself
        when the time is over. During a Redis outage it sleeps at most a second and returns `cursor`."""
        self._listen()
        with self._changed:
            seen = self._heard if cursor is None else int(cursor)
            if not self._listening:
                timeout_s = min(timeout_s, OUTAGE_S)
            woken = self._changed.wait_for(lambda: self._closed.is_set() or self._latest(job_id) > seen, timeout_s)
            return str(self._latest(job_id)) if woken and not self._closed.is_set() else cursor

    def close(self) -> None:
        """Give back the connections; waiters return. The listener's own is closed by itself, within BLOCK_MS.

        Never one that another thread reads from: over TLS it would go on reading from the number of the closed socket,
        which by then may be a file of somebody else.
        """
        with self._changed:
            self._closed.set()
            self._changed.notify_all()
        if self._redis is not None:
            self._redis.connection_pool.disconnect(inuse_connections=False)

    def _latest(self, job_id: str | None) -> int:
        return self._heard if job_id is None else self._last.get(job_id, 0)

    def _listen(self) -> None:
        """Start the listener at the first use, so that a process forked before it has its own."""
        with self._changed:
            if self._redis is None:
                return
            if self._listener is None:
                self._listener = threading.Thread(target=self._read, name="events", daemon=True)
                self._listener.start()
        self._started.wait(2.0)

    def _read(self) -> None:
        assert self._url is not None
        with _connect(self._url) as redis:
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
                    self._hear([fields["job"] for _, fields in entries])
            except (RedisError, OSError) as error:
                self._listening = False
                self._started.set()
                log.warning("no wake-ups from Redis (%s); trying again", error)
                time.sleep(OUTAGE_S)

    def _hear(self, jobs: list[str]) -> None:
        with self._changed:
            for job in jobs:
                self._heard += 1
                self._last[job] = self._heard
                self._last.move_to_end(job)
            while len(self._last) > REMEMBERED:
                self._last.popitem(last=False)
            self._changed.notify_all()


def _connect(url: str) -> Redis:
    """A read that blocks for BLOCK_MS must not look like a dead server."""
    return Redis.from_url(url, decode_responses=True, socket_timeout=BLOCK_MS / 1000 + 5, socket_connect_timeout=2)
