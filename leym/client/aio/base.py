"""Runs the synchronous SDK in threads, for asyncio.

One implementation of requests, retries and resumable streams serves both kinds of programs. A cancelled coroutine stops
waiting at once; its request ends in its thread.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final, ParamSpec, Self, TypeVar

from leym.client.client import Client
from leym.client.job import Job
from leym.client.progress import Bars
from leym.client.sweep import POLL, Sweep

P = ParamSpec("P")
T = TypeVar("T")

THREADS: Final = 64  # requests and streams at the same time
LONG_POLL_S = 5  # a program that ends in the meantime waits for the request that is under way
_END: Final = object()


class Threads:
    """The threads in which a client and its jobs and sweeps send their requests."""

    def __init__(self, count: int):
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="leym")

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function in a thread and return its result."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, partial(call, *args, **kwargs))

    async def each(self, items: Iterator[T]) -> AsyncIterator[T]:
        """Iterate over an iterator whose items are made in a thread. It is closed when the loop over it ends."""
        loop = asyncio.get_running_loop()
        following: asyncio.Future[Any] | None = None
        try:
            while True:
                following = loop.run_in_executor(self._pool, next, items, _END)
                item = await asyncio.shield(following)
                if item is _END:
                    return
                yield item
        finally:
            if following is None or following.done():
                _close(items)
            else:  # the iterator runs in its thread; it is closed after the next item
                following.add_done_callback(lambda _: _close(items))

    def close(self) -> None:
        """Start no more calls; those that run come to their end."""
        self._pool.shutdown(wait=False, cancel_futures=True)


class ClientBase:
    """Adds to `AsyncClient` what is not a method of `Client`.

    Args:
        url: address of the service; default: LEYM_URL.
        token: token of the caller, for a service that asks for one; default: LEYM_TOKEN.
        timeout: seconds to wait for an answer.
        headers: more headers for every request, for example for a proxy.
        threads: requests and streams at the same time; more of them wait.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        token: str | None = None,
        timeout: float = 30.0,
        headers: Mapping[str, str] | None = None,
        threads: int = THREADS,
    ):
        self._sync = Client(url, token=token, timeout=timeout, headers=headers)
        self._threads = Threads(threads)

    async def close(self) -> None:
        """Close the connections. The client cannot be used afterwards."""
        self._threads.close()
        self._sync.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<AsyncClient {self._sync.url}>"


class JobBase:
    """Adds to `AsyncJob` what is not a method of `Job`."""

    def __init__(self, threads: Threads, job: Job):
        self._threads, self._sync = threads, job

    def as_dict(self) -> dict[str, Any]:
        """Return the last answer of the service, unchanged."""
        return self._sync.as_dict()

    def field_names(self) -> list[str]:
        """Return the names of the recorded fields."""
        return self._sync.field_names()

    def check(self) -> Self:
        """Return the job, but raise JobFailed or JobCancelled if it ended that way."""
        self._sync.check()
        return self

    async def wait(self, timeout: float | None = None, progress: bool = False) -> Self:
        """Wait until the job has succeeded, and return it.

        Args:
            timeout: seconds to wait at most; default: no limit.
            progress: show a bar on a terminal, and a line now and then elsewhere, both on stderr.

        Raises:
            JobFailed: the job failed.
            JobCancelled: the job was cancelled.
            TimeoutError: the job has not ended after `timeout` seconds; it goes on.
        """
        job = self._sync
        end = None if timeout is None else time.monotonic() + timeout
        with Bars(enabled=progress) as bars:
            bars.show(job)
            while not job.done:
                left = LONG_POLL_S if end is None else end - time.monotonic()
                if left <= 0:
                    at = f"{job.state} at step {job.step} of {job.steps}"
                    raise TimeoutError(f"job {job.id} is {at} after {timeout} s")
                await self._threads.run(job.refresh, wait_s=max(1, min(LONG_POLL_S, int(left))))
                bars.show(job)
        return self.check()

    def __repr__(self) -> str:
        return repr(self._sync).replace("<Job", "<AsyncJob")


class SweepBase:
    """Adds to `AsyncSweep` what is not a method of `Sweep`."""

    def __init__(self, threads: Threads, sweep: Sweep):
        self._threads, self._sync = threads, sweep

    def as_dict(self) -> dict[str, Any]:
        """Return the last answer of the service, unchanged."""
        return self._sync.as_dict()

    async def wait(self, timeout: float | None = None, progress: bool = False) -> Self:
        """Wait until every member has ended, in whatever way; `state` and `counts` show the outcome.

        Args:
            timeout: seconds to wait at most; default: no limit.
            progress: show bars of members and of cell-steps on a terminal, and lines now and then elsewhere.

        Raises:
            TimeoutError: members are left after `timeout` seconds; they go on.
        """
        sweep, end, polls = self._sync, None if timeout is None else time.monotonic() + timeout, 0
        with Bars(enabled=progress) as bars:
            sweep._show(bars)
            while not sweep.done:
                pause = POLL.delay_s(polls)
                if end is not None and time.monotonic() + pause > end:
                    raise TimeoutError(f"sweep {sweep.id}: {sweep.step} of {sweep.size} jobs ended after {timeout} s")
                await asyncio.sleep(pause)
                polls += 1
                await self._threads.run(sweep.refresh)
                sweep._show(bars)
        return self

    def __repr__(self) -> str:
        return repr(self._sync).replace("<Sweep", "<AsyncSweep")


def _close(items: Iterator[Any]) -> None:
    close = getattr(items, "close", None)  # of a generator
    if close is not None:
        close()
