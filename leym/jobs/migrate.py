"""Creates the tables of a new database from the schema, and migrates an older one with Alembic."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Connection, insert, inspect, select, table, text
from sqlalchemy.sql import column

from leym.jobs.schema import BOUNDS, KINDS, QUOTE, SHARDS, latencies, metadata, totals

if TYPE_CHECKING:
    from alembic.config import Config

HEAD = "0015"  # newest migration; a constant, so that opening an up-to-date table does not import Alembic
FIRST = "0001"  # tables from before Alembic, recognised by `leym_schema`
LOCK = 0x6C65796D  # PostgreSQL advisory lock for creating and changing tables

_version = table("alembic_version", column("version_num"))


class SchemaError(Exception):
    """The database has a job table that this program cannot use."""


def bring_up_to_date(connection: Connection) -> None:
    """Create the tables, or migrate them to the newest version, within the caller's write transaction.

    A write transaction of SQLite excludes other processes. PostgreSQL needs an advisory lock for that.

    Raises:
        SchemaError: the tables are newer than this program.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK})
    found = version_of(connection)
    if found == HEAD:
        return
    if found is None:
        _create(connection)
    else:
        _migrate(connection, found)


def version_of(connection: Connection) -> str | None:
    """Read the version of the tables in the database; None if there are no tables."""
    there = inspect(connection)
    if there.has_table(_version.name):
        return connection.execute(select(_version.c.version_num)).scalar()
    return FIRST if there.has_table("leym_schema") else None


def _create(connection: Connection) -> None:
    from alembic import command

    metadata.create_all(connection)
    connection.execute(insert(totals), [{"shard": i} for i in range(SHARDS)])
    empty = [
        {"kind": kind, "bucket": i, "n": 0, "sum": 0.0} for kind in (*KINDS, QUOTE) for i in range(len(BOUNDS) + 1)
    ]
    connection.execute(insert(latencies), empty)
    command.stamp(_config(connection), HEAD)


def _migrate(connection: Connection, found: str) -> None:
    from alembic import command
    from alembic.script import ScriptDirectory

    config = _config(connection)
    known = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]
    if found not in known:
        raise SchemaError(
            f"the job table has version {found!r}, which this program does not know (its newest is {HEAD}):"
            " update this program"
        )
    if not inspect(connection).has_table(_version.name):
        command.stamp(config, found)
    command.upgrade(config, HEAD)


def _config(connection: Connection) -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "leym.jobs:migrations")
    config.attributes["connection"] = connection
    return config
