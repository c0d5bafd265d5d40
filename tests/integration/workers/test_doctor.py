"""`leym doctor` finds every fault that a test makes, repairs what it can, and changes no sound or running job."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time

import pytest
from redis import Redis
from sqlalchemy import create_engine, text, update

from leym import tickets
from leym.frames.layout import SHARD_FRAMES, job_prefix
from leym.jobs.schema import jobs
from leym.settings import Settings
from tests.support.databases import JOB_TABLE_V1
from tests.support.laws import random_law
from workers.broker import Broker, url_of
from workers.maintenance import checkup, doctor
from workers.maintenance.checkup import Check, Checkup


@pytest.mark.parametrize("deep", [False, True])
def test_a_sound_service_is_called_sound(patient, deep):
    patient.ended(), patient.queued(), patient.running()
    patient.submit()
    code, checks = patient.look(deep=deep)
    assert code == doctor.SOUND
    assert patient.found(deep=deep, repair=True) == {}
    names = [
        "schema",
        "leases",
        "laws",
        "starts",
        "rows",
        "checkpoints",
        "frames",
        "results",
        "garbage",
        "strangers",
        "webhooks",
        "tickets",
    ]
    assert list(checks) == names
    assert checks["results"].looked.startswith("1 ended jobs")
    assert checks["frames"].looked.startswith("3 live jobs")
    assert "not checked" in checks["tickets"].looked
    patient.check()


@pytest.mark.parametrize("what", ["frames", "last state"])
def test_lost_results_are_reported_and_cannot_be_repaired(patient, what):
    job_id, whole = patient.ended(), patient.ended()
    before = patient.table.get(job_id)
    key = patient.keys(job_id, "phase")[0] if what == "frames" else before.checkpoint["key"]
    patient.break_object(key, "gone")
    for options in ({}, {"repair": True}, {"repair": True, "deep": True}):
        code, checks = patient.look(**options)
        lost = checks["results"]
        assert code == doctor.UNSOUND
        assert (lost.found, lost.left) == (1, 1)
        assert job_id in lost.examples[0]
        assert key in lost.examples[0]
        assert "lost" in lost.todo
    assert patient.table.get(job_id) == before
    assert whole not in str(lost.examples)


def test_jobs_of_every_page_are_checked(here, monkeypatch):
    monkeypatch.setattr(checkup, "PAGE", 2)
    ids = [here.ended() for _ in range(5)]
    for job_id in ids:
        here.break_object(here.keys(job_id, "psi")[0], "gone")
    assert here.found() == {"results": (5, 0)}


def test_results_with_a_wrong_bit_are_found_when_they_are_read(here):
    job_id = here.ended()
    here.break_object(here.keys(job_id, "observables")[0], "flipped")
    assert here.found() == {}
    assert here.found(deep=True) == {"results": (1, 0)}


@pytest.mark.parametrize("deep", [False, True])
def test_objects_that_a_commit_replaces_meanwhile_are_not_damaged(patient, deep):
    job_id = patient.running()
    scan, get = patient.store.scan, patient.store.get
    partial = patient.keys(job_id, "psi")[-1]

    def commit_first(then):
        def doing(key):
            if "commits" in left and key != "jobs/":  # this scan comes before the rows are read
                left.remove("commits")
                for _ in range(4):
                    patient.work(4, checkpoint=True)  # replaces its checkpoints and partly filled shards
            return then(key)

        return doing

    left = ["commits"]
    patient.store.scan = commit_first(scan) if not deep else scan
    patient.store.get = commit_first(get) if deep else get
    check = Checkup(patient.table, patient.store, patient.settings, repair=True, deep=deep)
    [*_, checkpoints, frames, results] = check.objects()
    assert left == []
    assert patient.store.head(partial) is None
    assert (checkpoints.found, frames.found, results.found) == (0, 0, 0)


def test_a_law_without_the_digest_of_a_live_job_is_reported(here, law, tmp_path):
    job_id = here.queued()
    home = tmp_path / "laws" / "tiny"
    shutil.rmtree(home)
    code, checks = here.look(repair=True)
    assert code == doctor.UNSOUND
    assert (checks["laws"].found, checks["laws"].left) == (1, 1)
    assert law.ref in checks["laws"].examples[0]
    assert job_id in checks["laws"].examples[0]
    random_law(home, "MLP", d=3, seed=1)
    assert here.found() == {"laws": (1, 0)}, "another law of that name"
    shutil.copytree(law.path, home / "first")
    assert here.found() == {}
    here.table.cancel(job_id)
    shutil.rmtree(home)
    assert here.found() == {}, "only live jobs need their law"


def test_an_uploaded_state_of_a_live_job_is_reported_only_when_it_is_deleted(here):
    here.put_state(1)
    here.fork_upload(0)
    [state] = here.states
    assert here.found() == {}
    retired = f"states/retired/{state}/1"
    here.store.put(retired, here.store.get(f"states/{state}.npy"))
    here.store.delete([f"states/{state}.npy"])
    assert here.found() == {}, "a retired state can be read again"
    here.store.delete([retired])
    code, checks = here.look(repair=True)
    assert code == doctor.UNSOUND
    assert checks["starts"].left == 1
    assert state in checks["starts"].examples[0]
    here.cancel(0)
    assert here.found() == {}


def test_garbage_and_strangers_are_reported_and_are_not_faults(here):
    job_id = here.ended()
    here.store.put(f"{job_prefix(job_id)}psi/000000.0.1", b"left behind")
    here.store.put(f"{job_prefix('z' * 26)}psi/000000.1", b"of another table")
    code, checks = here.look(repair=True)
    assert code == doctor.SOUND
    garbage, strangers = checks["garbage"], checks["strangers"]
    assert garbage.found == 1
    assert "11 bytes" in garbage.looked
    assert "leym gc" in garbage.todo
    assert (strangers.found, strangers.examples) == (1, ["z" * 26])
    assert len(list(here.store.list("jobs/"))) > 2
    assert here.store.head(f"{job_prefix('z' * 26)}psi/000000.1")


def test_a_row_that_this_program_cannot_read_is_reported(here):
    job_id, manifest = here.ended(), {"version": 9}
    with here.table.db.write() as connection:
        connection.execute(update(jobs).where(jobs.c.id == job_id).values(manifest=json.dumps(manifest)))
    before = set(here.store.list("jobs/"))
    code, checks = here.look(repair=True)
    assert code == doctor.UNSOUND
    assert "manifest version 9" in checks["rows"].examples[0]
    assert set(here.store.list("jobs/")) == before


def test_an_older_job_table_is_reported_and_migrated_and_a_newer_or_missing_one_is_not_changed(tmp_path, url):
    configured = Settings(data=tmp_path, database_url=url, store_url=(tmp_path / "store").as_uri())
    (tmp_path / "store").mkdir()

    def look(**options) -> tuple[int, list[Check]]:
        checks = doctor.examine(configured, **options)
        return doctor.code_of(checks), checks

    code, [schema] = look(repair=True)
    assert code == doctor.INCOMPLETE, "and the examination creates no table"
    assert schema.error, "and the examination creates no table"
    if url.startswith("sqlite"):
        (tmp_path / "new folder").mkdir()
    engine = create_engine(url)
    with engine.begin() as connection:
        for statement in JOB_TABLE_V1.read_text().split(";"):
            if statement.strip():
                connection.execute(text(statement))
    code, [schema] = look()
    assert code == doctor.UNSOUND
    assert schema.left == 1
    assert "version 0001" in schema.looked
    code, checks = look(repair=True)
    assert code == doctor.SOUND
    assert checks[0].repaired == 1
    assert len(checks) > 5
    assert look()[0] == doctor.SOUND
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    for repair in (False, True):
        code, [schema] = look(repair=repair)
        assert code != doctor.SOUND
        assert "9999" in schema.looked + schema.error
    assert code == doctor.INCOMPLETE
    engine.dispose()


@pytest.fixture
def broker(here, tmp_path):
    """The embedded broker of the patient's data folder."""
    made = Broker(tmp_path / "valkey")
    child = made.start(os.environ)
    yield made
    child.end(10)
    tickets.configure(Settings())


def test_queued_jobs_without_a_ticket_get_one(here, broker):
    assert url_of(broker.folder) == broker.url
    ids = [here.queued(), here.queued(), here.queued()]
    here.table.mark_ticketed(ids, time.time() - 100)
    code, checks = here.look()
    assert code == doctor.UNSOUND
    assert checks["tickets"].found == 3
    assert "3 queued jobs and blocks, 0 tickets" in checks["tickets"].looked
    with Redis.from_url(broker.url) as redis:
        assert tickets.waiting(broker.url, "leym") == 0, "an examination sends nothing"
        assert here.found(repair=True) == {"tickets": (3, 3)}
        assert tickets.waiting(broker.url, "leym") == 3
        assert here.found() == {}
        redis.flushall()
        here.table.mark_ticketed(ids, time.time() - 100)
        tickets.send(here.table.get(ids[0]))
        assert here.found(repair=True) == {"tickets": (2, 2)}
        here.table.mark_ticketed(ids)
        redis.flushall()
    assert here.found() == {}, "tickets sent a moment ago may be on their way"


def test_a_ticket_that_a_worker_has_just_taken_is_not_missing(here, broker, monkeypatch):
    job_id = here.queued()
    here.table.mark_ticketed([job_id], time.time() - 100)
    monkeypatch.setattr("workers.maintenance.checkup.time.sleep", lambda s: here.table.claim(job_id, "w", 60, 9))
    assert here.found(repair=True) == {}


def test_an_unreachable_broker_is_reported_and_everything_else_is_checked(here):
    here.settings = here.settings.model_copy(update={"redis_url": "redis://127.0.0.1:1/0"})
    here.break_object(here.table.get(here.ended()).checkpoint["key"], "gone")
    code, checks = here.look()
    assert code == doctor.INCOMPLETE
    assert checks["tickets"].error
    assert checks["results"].found == 1
    tickets.configure(Settings())


def test_the_command_reports_by_its_output_and_its_exit_code(here, tmp_path, monkeypatch):
    monkeypatch.setattr("leym.frames.layout.SHARD_FRAMES", SHARD_FRAMES)  # the command uses the real one

    def leym_doctor(*options: str) -> tuple[int, str]:
        env = {k: v for k, v in os.environ.items() if not k.startswith("LEYM_")} | {"LEYM_DATA": str(tmp_path)}
        command = [sys.executable, "-m", "leym.cli", "doctor", *options]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        assert not done.stderr, done.stderr
        return done.returncode, done.stdout

    ids = [here.queued(), here.queued()]
    for job_id in ids:
        here.break_object(here.table.get(job_id).checkpoint["key"], "gone")
    code, output = leym_doctor("--examples", "1")
    assert code == 1
    assert "found 2, repaired 0, left 2" in output
    assert "not sound" in output
    assert sum(job_id in output for job_id in ids) == 1
    code, output = leym_doctor("--json", "--repair")
    document = json.loads(output)
    assert code == 0
    assert document["sound"]
    assert document["repair"]
    assert not document["deep"]
    [checkpoints] = [check for check in document["checks"] if check["name"] == "checkpoints"]
    assert (checkpoints["found"], checkpoints["repaired"], checkpoints["left"]) == (2, 2, 0)
    assert all(any(job_id in example for example in checkpoints["examples"]) for job_id in ids)
    (tmp_path / "jobs.sqlite").rename(tmp_path / "elsewhere")
    code, output = leym_doctor()
    assert code == 2
    assert "no such file" in output
    assert not (tmp_path / "jobs.sqlite").exists()
