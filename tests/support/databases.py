"""Databases for tests: a file of SQLite, and a PostgreSQL server of their own where it is installed."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import subprocess
import tempfile
import time
from itertools import count
from pathlib import Path

import pytest
import sqlalchemy as sa

JOB_TABLE_V1 = Path(__file__).with_name("job_table_v1.sql")  # a job table as the first version made it

_number = count()


def initdb() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    on_path = shutil.which("initdb")
    return found[-1] if found else Path(on_path) if on_path else None


def has_postgresql() -> bool:
    return initdb() is not None


@pytest.fixture(scope="session")
def postgresql():
    """The URL of an empty database of a server that listens on a socket only."""
    program = initdb()
    if program is None:
        pytest.skip("no PostgreSQL server on this machine (initdb not found)")
    folder = Path(tempfile.mkdtemp(prefix="leym-pg-"))  # not tmp_path: its path may be too long for a socket
    as_user, user = {}, getpass.getuser()
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        as_user, user = {"user": "postgres", "group": "postgres"}, "postgres"
        shutil.chown(folder, "postgres", "postgres")
    data, socket, quiet = folder / "data", folder, {"cwd": folder, "stdout": subprocess.DEVNULL}
    try:
        init = [program, "-D", data, "-A", "trust", "-U", user, "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"]
        subprocess.run(init, check=True, **quiet, **as_user)
        run = [program.with_name("postgres"), "-D", data, "-k", socket, "-c", "listen_addresses=", "-c", "fsync=off"]
        with open(folder / "log", "wb") as log:
            server = subprocess.Popen(run, stderr=log, **quiet, **as_user)
        try:
            url = f"postgresql+psycopg://{user}@/postgres?host={socket}"
            _await(url, server, folder / "log")
            yield url
        finally:
            server.send_signal(signal.SIGINT)  # a shutdown that does not wait for clients
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()
    finally:
        shutil.rmtree(folder)


def _await(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    until = time.monotonic() + 240
    while True:
        try:
            with engine.connect():
                return
        except sa.exc.OperationalError:
            if server.poll() is not None or time.monotonic() > until:
                pytest.fail(f"PostgreSQL does not answer:\n{log.read_text()}")
            time.sleep(0.02)


@pytest.fixture
def postgresql_url(postgresql):
    """Of a PostgreSQL database without tables."""
    space = f"t{next(_number)}"
    with sa.create_engine(postgresql, poolclass=sa.NullPool).begin() as connection:
        connection.exec_driver_sql(f"CREATE SCHEMA {space}")
    return f"{postgresql}&options=-csearch_path%3D{space}"


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    """Of a database without tables."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'new folder' / 'jobs.sqlite'}"
    return request.getfixturevalue("postgresql_url")
