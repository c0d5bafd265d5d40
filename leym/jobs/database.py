"""Connections to SQLite or PostgreSQL, and the two kinds of transaction: reads and writes."""

from __future__ import annotations

import os
import sqlite3
import time
import weakref
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, QueuePool, create_engine, event, make_url

from leym.jobs.sqlite_group_commit import Turns

BUSY_S = 30.0  # how long a transaction waits for another process's
_WRITE = "leym_write"
_POOL: dict[str, Any] = {
    "poolclass": QueuePool,
    "pool_size": 8,
    "max_overflow": 24,
    "hide_parameters": True,  # errors are logged: what people submit does not belong there
}


class Database:
    """A pool of connections. Threads may share it, and a forked child gets connections of its own.

    `url`: a file of SQLite (its folder is made), as a path or `sqlite:///path`; or `postgresql+psycopg://...`
    (`postgresql://` means the same).
    """

    def __init__(self, url: str | Path):
        parsed = address_of(url)
        if parsed.get_backend_name() == "sqlite":
            self.engine = _sqlite(parsed)
        elif parsed.get_backend_name() == "postgresql":
            self.engine = _postgresql(parsed)
        else:
            raise ValueError(f"database_url = {parsed!r}: the job table lives in sqlite:/// or postgresql+psycopg://")
        self._writing = self.engine.execution_options(**{_WRITE: True})
        self._turns = self._new_turns()
        _open.add(self)

    def _new_turns(self) -> Turns | None:
        """PostgreSQL needs none."""
        url = self.engine.url
        if url.get_backend_name() != "sqlite":
            return None
        path = str(url.database)
        return Turns(self._writing, None if path.startswith("file:") else path, BUSY_S)

    def read(self) -> AbstractContextManager[Connection]:
        """A transaction that only reads."""
        return self.engine.begin()

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that writes; durable when it has left without an exception.

        On SQLite nobody else writes during it. On PostgreSQL the rows that a decision rests on must be read with
        `with_for_update()` (SQLite leaves that out), several rows in the order of their ids.
        """
        with self._turns.write() if self._turns else self._writing.begin() as connection:
            yield connection

    def close(self) -> None:
        self.engine.dispose()
        if self._turns:
            self._turns.close()

    def forked(self) -> None:
        self.engine.dispose(close=False)  # the parent still uses them
        if self._turns:
            self._turns.forget()
        self._turns = self._new_turns()


def address_of(url: str | Path) -> URL:
    """A path may have any characters; in the text of an address, '?' begins the query."""
    return URL.create("sqlite", database=str(url)) if isinstance(url, Path) else make_url(url)


_open: weakref.WeakSet[Database] = weakref.WeakSet()


def _forked() -> None:
    for database in list(_open):
        database.forked()


os.register_at_fork(after_in_child=_forked)


def _postgresql(url: URL) -> Engine:
    if url.drivername == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    return create_engine(url, **_POOL, pool_pre_ping=True)


def _sqlite(url: URL) -> Engine:
    if not url.database or url.database == ":memory:":
        raise ValueError("database_url = sqlite without a file: other processes could not see the job table")
    if not url.database.startswith("file:"):
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, **_POOL, connect_args={"timeout": BUSY_S})
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin)
    return engine


def _prepare(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # or the driver would begin transactions by itself, and late
    until = time.monotonic() + BUSY_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            break
        except sqlite3.OperationalError as error:
            # Two processes that both turn a new file to WAL are told at once, whatever the timeout says.
            if "locked" not in str(error) or time.monotonic() > until:
                raise
            time.sleep(0.01)
    connection.execute("PRAGMA synchronous=FULL")


def _begin(connection: Connection) -> None:
    # A transaction that first reads and then writes would fail if another one wrote in between.
    immediate = connection.get_execution_options().get(_WRITE)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")
