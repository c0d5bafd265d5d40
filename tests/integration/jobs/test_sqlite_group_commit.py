"""Writers of SQLite: threads share a transaction, processes take turns, and whoever returns has written."""

from __future__ import annotations

import fcntl
import os
import threading

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from leym.jobs import sqlite_group_commit
from leym.jobs.database import Database
from tests.support.parallel import at_once
from tests.support.service import until

numbers = sa.table("numbers", sa.column("n"))


@pytest.fixture
def open_database(tmp_path):
    opened = []

    def open_() -> Database:
        opened.append(Database(f"sqlite:///{tmp_path}/x.sqlite"))
        return opened[-1]

    with open_().write() as connection:
        connection.exec_driver_sql("CREATE TABLE numbers (n INTEGER UNIQUE)")
    yield open_
    for database in opened:
        database.close()


def there(database: Database) -> set[int]:
    with database.read() as connection:
        return set(connection.scalars(sa.select(numbers.c.n)))


def add(database: Database, n: int) -> None:
    with database.write() as connection:
        connection.execute(sa.insert(numbers), {"n": n})


def held_up(database: Database, calls) -> list:
    """What these threads got, who all come while another one writes, so that they share what follows."""
    writing = threading.Event()

    def first():
        with database.write():
            writing.set()
            until(lambda: database._turns._coming == len(calls))

    def after(call):
        writing.wait()
        return call()

    return at_once(first, *(lambda c=call: after(c) for call in calls))[1:]


def test_threads_share_a_transaction_and_each_finds_its_rows_when_it_returns(open_database):
    database, other, commits = open_database(), open_database(), []
    sa.event.listen(database.engine, "commit", lambda _: commits.append(1))

    def write(n):
        add(database, n)
        assert n in there(other)

    assert held_up(database, [lambda n=n: write(n) for n in range(10)]) == [None] * 10
    assert len(there(other)) == 10
    assert len(commits) < 10


def test_a_part_that_fails_takes_back_only_its_own(open_database):
    database = open_database()

    def fails():
        with database.write() as connection:
            connection.execute(sa.insert(numbers), {"n": 100})
            raise ValueError("mine")

    found = held_up(database, [lambda n=n: add(database, n) for n in range(5)] + [fails, lambda: add(database, 3)])
    assert sum(isinstance(error, sa.exc.IntegrityError) for error in found) == 1
    assert sum(isinstance(error, ValueError) for error in found) == 1
    assert there(database) == set(range(5))


def test_when_the_commit_fails_nobody_believes_it_was_done(open_database, monkeypatch):
    database = open_database()
    commit = sa.Connection.commit

    def full(connection):
        if connection.scalar(sa.select(sa.func.count()).select_from(numbers)) > 1:
            raise OperationalError("COMMIT", None, OSError("disk full"))
        commit(connection)

    monkeypatch.setattr(sa.Connection, "commit", full)
    found = held_up(database, [lambda n=n: add(database, n) for n in range(6)])
    monkeypatch.undo()
    assert {n for n, error in enumerate(found) if error is None} == there(database)
    assert any(isinstance(error, OperationalError) for error in found)
    add(database, 50)
    assert 50 in there(database)


def test_a_transaction_that_sqlite_itself_ended_fails_for_all_of_its_parts(open_database):
    database = open_database()

    def ended():
        with database.write() as connection:
            connection.exec_driver_sql("ROLLBACK")
            raise ValueError("as after a full disk")

    found = held_up(database, [lambda n=n: add(database, n) for n in range(6)] + [ended])
    assert {n for n, error in enumerate(found[:6]) if error is None} == there(database)
    add(database, 50)


def test_a_process_that_waits_comes_before_the_one_that_has_just_written(open_database):
    first, second = open_database(), open_database()  # locks of files do not ask whether it is another process
    order = []

    def enter(database, name):
        with database.write():
            order.append(name)

    with first.write():
        waiting = threading.Thread(target=enter, args=(second, "second"))
        waiting.start()
        with open(f"{second.engine.url.database}-next", "rb") as outer:
            until(lambda: _is_held(outer.fileno()))
    enter(first, "first")
    waiting.join()
    assert order == ["second", "first"]


def test_nobody_waits_for_ever(open_database, monkeypatch):
    database = open_database()
    monkeypatch.setattr("leym.jobs.database.BUSY_S", 0.05)
    impatient = open_database()
    with database.write(), pytest.raises(OperationalError, match="another process has written"):
        add(impatient, 1)
    add(impatient, 2)
    assert there(database) == {2}


def test_who_was_to_commit_and_never_came_is_replaced(open_database, monkeypatch):
    database = open_database()
    monkeypatch.setattr(sqlite_group_commit, "SURE_S", 0.01)
    database._turns._coming += 1
    add(database, 1)
    assert there(open_database()) == {1}


def test_a_forked_child_and_its_parent_write(open_database):
    database = open_database()
    add(database, 0)
    child = os.fork()
    if not child:
        try:
            for n in range(1, 50):
                add(database, n)
            database.close()
        finally:
            os._exit(there(database) < set(range(50)))
    for n in range(100, 150):
        add(database, n)
    assert os.waitpid(child, 0)[1] == 0
    assert there(database) == {*range(50), *range(100, 150)}


def _is_held(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(handle, fcntl.LOCK_UN)
    return False
