"""Opening a job table makes it, or brings an older one to the newest version, whatever else opens it then."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from leym.contract.spec import JobSpec
from leym.jobs import migrate
from leym.jobs.database import Database
from leym.jobs.schema import metadata
from leym.jobs.table import JobTable
from tests.support.databases import JOB_TABLE_V1
from tests.support.parallel import at_once

SPEC = JobSpec(law="aurora", grid=(8, 16), steps=100)
ROW = {
    "id": "0" * 26,
    "state": "queued",
    "step": 30,
    "steps": 100,
    "spec": SPEC.model_dump_json(),
    "law": "aurora@0",
    "precision": "nf4",
    "d_state": 4,
    "epoch": 2,
    "attempts": 1,
    "priority": 4,
    "created_at": 1.0,
    "manifest": "{}",
    "law_name": "aurora",
    "height": 8,
    "width": 16,
    "remaining": 70,
    "frames": 0,
}


@pytest.fixture
def old(url):
    """The URL of a database as the first version left it, with two jobs."""
    database = Database(url)
    with database.write() as connection:
        text = JOB_TABLE_V1.read_text().partition("\n")[2]
        if database.engine.dialect.name == "sqlite":
            text = text.replace("DOUBLE PRECISION", "DOUBLE")
        for statement in text.split(";"):
            if statement.strip():
                connection.exec_driver_sql(statement)
        connection.exec_driver_sql("INSERT INTO leym_schema VALUES (1, 1)")
        jobs = sa.table("leym_jobs", *map(sa.column, ROW))
        connection.execute(sa.insert(jobs), [ROW, ROW | {"id": "1" * 26, "precision": "fp32"}])
    database.close()
    return url


def differences(table: JobTable) -> list:
    with table.db.read() as connection:
        return compare_metadata(MigrationContext.configure(connection), metadata)


def test_the_newest_version_is_that_of_the_migrations():
    scripts = ScriptDirectory(str(Path(migrate.__file__).with_name("migrations")))
    assert scripts.get_heads() == [migrate.HEAD]


def test_a_new_database_and_a_migrated_one_are_as_the_schema_says(url):
    table = JobTable(url)
    assert differences(table) == []
    with table.db.write() as connection:
        connection.exec_driver_sql("ALTER TABLE leym_jobs ADD COLUMN stray TEXT")
    assert len(differences(table)) == 1  # the comparison can tell
    table.close()


def test_an_old_table_is_migrated_and_its_jobs_stay(old):
    table = JobTable(old)
    assert differences(table) == []
    first, second = table.get("0" * 26), table.get("1" * 26)
    assert (first.step, first.epoch, first.fidelity, first.stored_bytes) == (30, 2, "unverified", 0)
    assert first.spec == json.loads(SPEC.model_dump_json())
    assert second.fidelity == "exact"
    assert (first.members, first.indices, first.is_block, first.results) == (1, None, False, first.id)
    assert table.claim(first.id, "w", 20, 3).epoch == 3
    table.close()
    again = JobTable(old)
    assert again.get(first.id).state == "running"
    again.close()


def test_a_deadline_of_an_old_table_still_acts(old):
    database = Database(old)
    with database.write() as connection:
        spec = json.dumps(json.loads(ROW["spec"]) | {"deadline_s": 60.0}, separators=(",", ":"))
        changed = sa.table("leym_jobs", sa.column("id"), sa.column("spec"))
        connection.execute(sa.update(changed).where(changed.c.id == "1" * 26).values(spec=spec))
    database.close()
    table = JobTable(old)
    assert table.fail_overdue(now=60.9) == []
    assert [job.id for job in table.fail_overdue(now=61.0)] == ["1" * 26]
    table.close()


def test_many_may_open_an_old_table_at_once(old):
    tables = at_once(*(lambda: JobTable(old) for _ in range(6)))
    for table in tables:
        assert table.get("0" * 26).fidelity == "unverified"
        table.close()


def test_a_migration_that_breaks_changes_nothing(old, monkeypatch):
    from alembic import op

    def broken(*_args, **_kwargs):
        raise RuntimeError("lost power")

    monkeypatch.setattr(op, "drop_table", broken)
    with pytest.raises(RuntimeError, match="lost power"):
        JobTable(old)
    monkeypatch.undo()
    database = Database(old)
    with database.read() as connection:
        there = sa.inspect(connection)
        assert there.has_table("leym_schema")
        assert not there.has_table("alembic_version")
        assert "fidelity" not in {column["name"] for column in there.get_columns("leym_jobs")}
    database.close()
    table = JobTable(old)
    assert differences(table) == []
    table.close()


def test_a_table_of_a_newer_program_is_refused(url):
    table = JobTable(url)
    with table.db.write() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(migrate.SchemaError, match="version '9999', which this program does not know"):
        JobTable(url)
    table.close()
