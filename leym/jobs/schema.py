"""The tables of the job table, their indices, and how they come to be.

Specs, manifests and the like are JSON as text: the table never looks into them. What it filters or adds up
has a column of its own.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Double,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    insert,
    select,
    text,
)

VERSION = 1
LOCK = 0x6C65796D  # of the advisory lock under which PostgreSQL tables are created
SHARDS = 8  # the running totals are spread over so many rows, so that writers rarely wait for each other
BOUNDS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0)  # s, and +Inf
KINDS = ("total", "wait")  # of latencies

metadata = MetaData()

schema = Table(
    "leym_schema",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("version", Integer, nullable=False),
)

jobs = Table(
    "leym_jobs",
    metadata,
    Column("id", String(26), primary_key=True),
    Column("state", String(16), nullable=False),
    Column("step", BigInteger, nullable=False),
    Column("steps", BigInteger, nullable=False),
    Column("spec", Text, nullable=False),
    Column("law", Text, nullable=False),
    Column("precision", String(16), nullable=False),
    Column("d_state", Integer, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("owner", Text),
    Column("lease_until", Double),
    Column("error", Text),
    Column("created_at", Double, nullable=False),
    Column("started_at", Double),
    Column("finished_at", Double),
    Column("sweep", String(26)),
    Column("point", Text),
    Column("manifest", Text, nullable=False),
    Column("checkpoint", Text),
    Column("observables_last", Text),
    Column("deleted_at", Double),
    # not part of a Job
    Column("law_name", Text, nullable=False),
    Column("height", Integer, nullable=False),
    Column("width", Integer, nullable=False),
    Column("remaining", BigInteger, nullable=False),  # steps - step
    Column("frames", BigInteger, nullable=False),  # committed, of all arrays together
    Column("ticketed_at", Double),  # when a ticket was last given to the broker
)
_shown = jobs.c.deleted_at.is_(None)
Index("leym_jobs_state", jobs.c.state, jobs.c.id, sqlite_where=_shown, postgresql_where=_shown)
Index("leym_jobs_outbox", jobs.c.state, jobs.c.ticketed_at)
Index("leym_jobs_law", jobs.c.law_name, jobs.c.id)
Index("leym_jobs_sweep", jobs.c.sweep, jobs.c.id)

tags = Table(
    "leym_tags",
    metadata,
    Column("tag", Text, primary_key=True),  # JSON [key, value]
    Column("job", String(26), primary_key=True),
    sqlite_with_rowid=False,
)

requests = Table(
    "leym_requests",
    metadata,
    Column("key", Text, primary_key=True),  # of an Idempotency-Key header
    Column("digest", String(64), nullable=False),
    Column("made", String(26), nullable=False),  # the job or sweep
    Column("created_at", Double, nullable=False),
)

sweeps = Table(
    "leym_sweeps",
    metadata,
    Column("id", String(26), primary_key=True),
    Column("spec", Text, nullable=False),
    Column("size", Integer, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("cancelled_at", Double),
)

workers = Table(
    "leym_workers",
    metadata,
    Column("name", Text, primary_key=True),
    Column("body", Text, nullable=False),
    Column("updated_at", Double, nullable=False),
)

totals = Table(
    "leym_totals",
    metadata,
    Column("shard", Integer, primary_key=True, autoincrement=False),
    *(
        Column(name, BigInteger, nullable=False, default=0)
        for name in ("submitted", "succeeded", "failed", "cancelled", "cell_steps", "frames")
    ),
)

latencies = Table(
    "leym_latencies",
    metadata,
    Column("kind", String(16), primary_key=True),
    Column("bucket", Integer, primary_key=True, autoincrement=False),  # index of BOUNDS; the last one is +Inf
    Column("n", BigInteger, nullable=False),
    Column("sum", Double, nullable=False),
)


class SchemaError(Exception):
    """The database holds a job table of another version than this program's."""


def create_all(connection: Connection) -> None:
    """Make the tables that are not there, in the caller's write transaction. Raises SchemaError.

    SQLite's write transaction keeps other processes out; PostgreSQL's does not, hence the lock.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK})
    schema.create(connection, checkfirst=True)
    found = connection.execute(select(schema.c.version)).scalar()
    if found is None:
        metadata.create_all(connection)
        connection.execute(insert(schema), {"id": 1, "version": VERSION})
        connection.execute(insert(totals), [{"shard": i} for i in range(SHARDS)])
        empty = [{"kind": kind, "bucket": i, "n": 0, "sum": 0.0} for kind in KINDS for i in range(len(BOUNDS) + 1)]
        connection.execute(insert(latencies), empty)
    elif found != VERSION:
        age = "newer" if found > VERSION else "older"
        what_now = "update this program" if found > VERSION else "there is no migration from it"
        raise SchemaError(f"the job table has schema version {found}, {age} than this program's {VERSION}: {what_now}")
