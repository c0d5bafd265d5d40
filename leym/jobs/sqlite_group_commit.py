"""Whose turn it is to write to a file of SQLite, which takes one writer at a time.

SQLite syncs every transaction by itself, and processes that wait for it look again after pauses that grow: whoever has
just written is mostly next. Here the threads of a process that want to write share one transaction, which the last of
them commits, and a process that waits is let in before the one that has just written.
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

MOST = 16  # parts of one transaction: other processes wait until it ends
LOOK_S = 0.0005  # a lock of a file has no time limit of its own, so it is tried this often
SURE_S = 1.0  # a thread that was to commit for others may have been broken off: after this they look themselves


class Turns:
    """write(): a part of a transaction. For threads of one process; a forked child needs another one."""

    def __init__(self, engine: Engine, path: str | None, wait_s: float):
        """engine: begins transactions that write. path: of the database; without it processes are not kept in order."""
        self._engine, self._doors = engine, _Doors(path, wait_s)
        self._turn, self._counting, self._coming = threading.Lock(), threading.Lock(), 0
        self._shared: _Shared | None = None

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Durable when it has left without an exception. One that leaves with an exception takes back its own part."""
        shared: _Shared | None = None
        try:
            with self._my_turn():
                shared = self._shared = self._shared or _Shared(self._engine, self._doors)
                try:
                    with shared.part() as connection:
                        yield connection
                finally:
                    if not self._coming or shared.parts >= MOST or shared.error:
                        self._end(shared)
        finally:
            while shared and not shared.ended.wait(SURE_S):
                with self._turn:
                    self._end(shared)
            if shared and shared.error:
                raise shared.error

    @contextmanager
    def _my_turn(self) -> Iterator[None]:
        with self._counting:
            self._coming += 1
        try:
            self._turn.acquire()
        finally:
            with self._counting:
                self._coming -= 1
        try:
            yield
        finally:
            self._turn.release()

    def _end(self, shared: _Shared) -> None:
        """By whoever has the turn."""
        if shared is self._shared:
            self._shared = None
            shared.end()

    def close(self) -> None:
        with self._turn:
            self._doors.close()

    def forget(self) -> None:
        """In a forked child: a thread that is not in it may have the turn, and its parent's locks must not live on."""
        self._doors.close()


class _Shared:
    """One transaction of several parts. error: why none of them is in the table."""

    def __init__(self, engine: Engine, doors: _Doors):
        self.parts, self.ended = 0, threading.Event()
        self.error: DBAPIError | None = None
        self._doors = doors
        doors.enter()
        try:
            self._connection = engine.connect()
            self._connection.begin()
        except BaseException:
            doors.leave()
            raise

    @contextmanager
    def part(self) -> Iterator[Connection]:
        self.parts += 1
        self._connection.exec_driver_sql("SAVEPOINT part")
        try:
            yield self._connection
        except BaseException:
            try:
                self._connection.exec_driver_sql("ROLLBACK TO part")
            except DBAPIError as error:  # a full disk, for one, ends the whole transaction
                self.error = error
            raise
        self._connection.exec_driver_sql("RELEASE part")

    def end(self) -> None:
        try:
            if not self.error:
                self._connection.commit()
        except DBAPIError as error:
            self.error = error
        finally:
            with suppress(DBAPIError):
                self._connection.close()
            self._doors.leave()
            self.ended.set()


class _Doors:
    """Two locks of files: who holds the outer one is next, who holds the inner one writes.

    The outer one is held until the inner one is had. So a process that has just written stands behind one that waits.
    """

    def __init__(self, path: str | None, wait_s: float):
        self._paths = [f"{path}-next", f"{path}-writes"] if path else []
        self._wait_s = wait_s
        self._handles: list[int] = []

    def enter(self) -> None:
        """Raises sqlalchemy's OperationalError after `wait_s`, as SQLite would."""
        if not self._paths:
            return
        if not self._handles:
            self._handles = [os.open(path, os.O_RDWR | os.O_CREAT, 0o644) for path in self._paths]
        outer, inner = self._handles
        until = time.monotonic() + self._wait_s
        self._lock(outer, until)
        try:
            self._lock(inner, until)
        finally:
            fcntl.flock(outer, fcntl.LOCK_UN)

    def leave(self) -> None:
        if self._handles:
            fcntl.flock(self._handles[1], fcntl.LOCK_UN)

    def close(self) -> None:
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
                time.sleep(LOOK_S)
