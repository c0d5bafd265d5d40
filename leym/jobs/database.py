"""Connections to SQLite or PostgreSQL, with transactions that read and transactions that write."""

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

from leym.jobs.sqlite_group_commit import SqliteGroupCommit

BUSY_S = 30.0  # longest wait for the transaction of another process
_WRITE = "leym_write"
_POOL: dict[str, Any] = {
    "poolclass": QueuePool,
    "pool_size": 8,
    "max_overflow": 24,
    "hide_parameters": True,  # keeps what people submit out of logged errors
}


class Database:
    """A pool of connections. Threads may share it; a forked child gets connections of its own."""

    def __init__(self, url: str | Path):
        """Set up the pool; connections open on first use.

        Args:
            url: a file of SQLite, as a path or as `sqlite:///path` (missing folders are created), or
                `postgresql+psycopg://...`, for which `postgresql://` is another spelling.

        Raises:
            ValueError: the URL names another database, or SQLite without a file.
        """
        parsed = address_of(url)
        if parsed.get_backend_name() == "sqlite":
            self.engine = _sqlite(parsed)
        elif parsed.get_backend_name() == "postgresql":
            self.engine = _postgresql(parsed)
        else:
            raise ValueError(f"database_url = {parsed!r}: expected sqlite:/// or postgresql+psycopg://")
        self._writing = self.engine.execution_options(**{_WRITE: True})
        self._group_commit = self._new_group_commit()
        _open.add(self)

    def _new_group_commit(self) -> SqliteGroupCommit | None:
        """Return the group commit of SQLite; None for PostgreSQL, which has one of its own."""
        url = self.engine.url
        if url.get_backend_name() != "sqlite":
            return None
        path = str(url.database)
        return SqliteGroupCommit(self._writing, None if path.startswith("file:") else path, BUSY_S)

    def read(self) -> AbstractContextManager[Connection]:
        """Begin a transaction that only reads."""
        return self.engine.begin()

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Begin a transaction that writes; it is durable when the block has left without an exception.

        On SQLite, nobody else writes during the transaction. On PostgreSQL, a transaction must read the rows on which
        it decides with `with_for_update()`, several rows in the order of their ids. SQLite ignores it.
        """
        with self._group_commit.write() if self._group_commit else self._writing.begin() as connection:
            yield connection

    def close(self) -> None:
        """Close all connections; later transactions open new ones."""
        self.engine.dispose()
        if self._group_commit:
            self._group_commit.close()

    def reset_in_child(self) -> None:
        """Replace the connections in a forked child; the parent goes on with the old ones."""
        self.engine.dispose(close=False)
        if self._group_commit:
            self._group_commit.close_in_child()
        self._group_commit = self._new_group_commit()


def address_of(url: str | Path) -> URL:
    """Parse a URL; a Path becomes the URL of an SQLite file, whatever characters it contains."""
    return URL.create("sqlite", database=str(url)) if isinstance(url, Path) else make_url(url)


_open: weakref.WeakSet[Database] = weakref.WeakSet()


def _reset_all_in_child() -> None:
    for database in list(_open):
        database.reset_in_child()


os.register_at_fork(after_in_child=_reset_all_in_child)


def _postgresql(url: URL) -> Engine:
    if url.drivername == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    return create_engine(url, **_POOL, pool_pre_ping=True)


def _sqlite(url: URL) -> Engine:
    if not url.database or url.database == ":memory:":
        raise ValueError("database_url = sqlite without a file: other processes could not open the job table")
    if not url.database.startswith("file:"):
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, **_POOL, connect_args={"timeout": BUSY_S})
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin)
    return engine


def _prepare(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # the driver would begin transactions by itself, and too late
    until = time.monotonic() + BUSY_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            break
        except sqlite3.OperationalError as error:
            # If two processes switch a new file to WAL, one fails at once, whatever its time-out is.
            if "locked" not in str(error) or time.monotonic() > until:
                raise
            time.sleep(0.01)
    connection.execute("PRAGMA synchronous=FULL")


def _begin(connection: Connection) -> None:
    # BEGIN alone would let a transaction that reads first fail when it writes, if another one wrote in between.
    immediate = connection.get_execution_options().get(_WRITE)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")
