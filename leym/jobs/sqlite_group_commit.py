"""Group commit for SQLite, which has one writer at a time and syncs every transaction.

Threads of a process that want to write share one transaction: each writes its part under a savepoint, and the last one
commits for all. Processes wait for each other in order. SQLite itself would poll with growing pauses, so that the
process that has just written would mostly write next.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, OperationalError

MAX_PARTS = 16  # parts of one transaction; other processes wait until it ends
POLL_S = 0.0005  # interval of attempts to lock a file, since flock has no time-out
TAKE_OVER_S = 1.0  # wait for the commit of another thread; after this, commit for it in case it was killed


class SqliteGroupCommit:
    """Transactions that write, shared by the threads of a process. A forked child needs an instance of its own."""

    def __init__(self, engine: Engine, path: str | None, wait_s: float):
        """Set up the queue of writers; nothing is opened yet.

        Args:
            engine: begins transactions that write.
            path: path of the database; None if other processes need not be kept in order.
            wait_s: longest wait for another process in seconds.
        """
        self._engine, self._file_lock = engine, FairFileLock(path, wait_s)
        self._thread_lock = threading.Lock()  # held by the thread that writes its part
        self._count_lock, self._waiting = threading.Lock(), 0  # threads that wait for _thread_lock
        self._open: _SharedTransaction | None = None

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Run a block as one part of the shared transaction; the part is durable when the block has left.

        A block that raises rolls back its own part only. Raises the error of the commit in every thread whose part was
        in the transaction.
        """
        shared: _SharedTransaction | None = None
        try:
            with self._one_thread():
                shared = self._open = self._open or _SharedTransaction(self._engine, self._file_lock)
                try:
                    with shared.part() as connection:
                        yield connection
                finally:
                    if not self._waiting or shared.parts >= MAX_PARTS or shared.error:
                        self._commit(shared)
        finally:
            while shared and not shared.ended.wait(TAKE_OVER_S):
                with self._thread_lock:
                    self._commit(shared)
            if shared and shared.error:
                raise shared.error

    @contextmanager
    def _one_thread(self) -> Iterator[None]:
        with self._count_lock:
            self._waiting += 1
        try:
            self._thread_lock.acquire()
        finally:
            with self._count_lock:
                self._waiting -= 1
        try:
            yield
        finally:
            self._thread_lock.release()

    def _commit(self, shared: _SharedTransaction) -> None:
        """Commit a transaction unless another thread has done it. The caller holds _thread_lock."""
        if shared is self._open:
            self._open = None
            shared.commit()

    def close(self) -> None:
        """Close the lock files once no thread writes."""
        with self._thread_lock:
            self._file_lock.close()

    def close_in_child(self) -> None:
        """Close the lock files in a forked child, where a thread that does not exist may hold _thread_lock.

        Otherwise the child would keep the locks of its parent.
        """
        self._file_lock.close()


class _SharedTransaction:
    """A transaction with several parts. `error` is set if none of them is in the database."""

    def __init__(self, engine: Engine, file_lock: FairFileLock):
        self.parts, self.ended = 0, threading.Event()
        self.error: DBAPIError | None = None
        self._file_lock = file_lock
        file_lock.acquire()
        try:
            self._connection = engine.connect()
            self._connection.begin()
        except BaseException:
            file_lock.release()
            raise

    @contextmanager
    def part(self) -> Iterator[Connection]:
        """Run a block under a savepoint."""
        self.parts += 1
        self._connection.exec_driver_sql("SAVEPOINT part")
        try:
            yield self._connection
        except BaseException:
            try:
                self._connection.exec_driver_sql("ROLLBACK TO part")
            except DBAPIError as error:  # SQLite has ended the whole transaction, for example on a full disk
                self.error = error
            raise
        self._connection.exec_driver_sql("RELEASE part")

    def commit(self) -> None:
        """Commit all parts, or roll back if an error is set; wakes the threads that wait for `ended`."""
        try:
            if not self.error:
                self._connection.commit()
        except DBAPIError as error:
            self.error = error
        finally:
            with suppress(DBAPIError):
                self._connection.close()
            self._file_lock.release()
            self.ended.set()


class FairFileLock:
    """Lock between processes that a waiting process gets before the one that has just held it.

    There are two lock files: `<path>-next` for the process that is next, and `<path>-writes` for the one that writes. A
    process keeps the first until it has the second, so whoever has just written queues behind it.
    """

    def __init__(self, path: str | None, wait_s: float):
        self._paths = [f"{path}-next", f"{path}-writes"] if path else []
        self._wait_s = wait_s
        self._handles: list[int] = []

    def acquire(self) -> None:
        """Wait for the lock; without a path, do nothing.

        Raises:
            sqlalchemy.exc.OperationalError: another process has held the lock for `wait_s`; SQLite raises the same.
        """
        if not self._paths:
            return
        if not self._handles:
            self._handles = [os.open(path, os.O_RDWR | os.O_CREAT, 0o644) for path in self._paths]
        following, writing = self._handles
        until = time.monotonic() + self._wait_s
        self._lock(following, until)
        try:
            self._lock(writing, until)
        finally:
            fcntl.flock(following, fcntl.LOCK_UN)

    def release(self) -> None:
        """Let the next process write."""
        if self._handles:
            fcntl.flock(self._handles[1], fcntl.LOCK_UN)

    def close(self) -> None:
        """Close the lock files."""
        for handle in self._handles:
            os.close(handle)
        self._handles = []

    def _lock(self, handle: int, until: float) -> None:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError as error:
                if time.monotonic() > until:
                    waited = TimeoutError(f"database is locked: another process has written for {self._wait_s:.0f} s")
                    raise OperationalError("BEGIN IMMEDIATE", None, waited) from error
                time.sleep(POLL_S)
