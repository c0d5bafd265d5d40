"""`leym backup` of a running service: its contents, and the restored service ends every job with the same bits."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import create_engine

from leym import tickets
from leym.frames.checkpoint import references
from leym.frames.stores.files import FileStore
from leym.frames.stores.open import open_store
from leym.jobs.table import JobTable
from leym.settings import Settings
from tests.support.command import leym_here
from tests.support.databases import initdb
from tests.support.laws import random_law
from tests.support.patient import Patient, patient_of
from tests.support.service import Service, add_laws, until
from workers.maintenance import backup, doctor

STEPS = 1000  # a job that takes longer than a backup
SPEC = {"law": "tiny", "grid": (8, 8), "record": {"psi": 50, "phase": 25}, "observe": 25, "precision": "fp32"}


@pytest.fixture(scope="module")
def law(tmp_path_factory):
    return random_law(tmp_path_factory.mktemp("law") / "tiny", "MLP", d=3)


@pytest.fixture
def here(law, tmp_path, monkeypatch):
    store_url = (tmp_path / "data" / "store").as_uri()
    yield from patient_of(f"sqlite:///{tmp_path}/data/jobs.sqlite", store_url, law, tmp_path / "data", monkeypatch)


def look(folder: Path, **options: bool) -> tuple[int, dict[str, int]]:
    checks = doctor.examine(Settings(data=folder, database_url="", store_url="", redis_url=""), **options)
    return doctor.code_of(checks), {check.name: check.found for check in checks if check.found and not check.note}


def test_a_backup_is_a_data_folder_with_everything_that_cannot_be_recomputed(here, tmp_path):
    ended, queued = here.ended(), here.queued()
    (tmp_path / "data" / "link-key").write_text("secret")
    (tmp_path / "data" / "laws" / ".work-1").mkdir()
    here.put_state(1)
    copied = backup.back_up(here.settings, tmp_path / "copy")
    there = set(here.store.list("jobs/")) | set(here.store.list("states/"))
    store = FileStore(tmp_path / "copy" / "store")
    assert {*store.list("jobs/"), *store.list("states/")} == there
    assert (copied.objects, copied.replaced) == (len(there), 0)
    assert copied.bytes == sum(store.head(key) for key in there)
    assert all(store.get(key) == here.store.get(key) for key in there)
    assert (tmp_path / "copy" / "link-key").read_text() == "secret"
    assert not (tmp_path / "copy" / "laws" / ".work-1").exists()
    assert (tmp_path / "copy").stat().st_mode & 0o077 == 0
    assert look(tmp_path / "copy", deep=True) == (doctor.SOUND, {})
    table = JobTable(f"sqlite:///{tmp_path}/copy/jobs.sqlite")
    assert table.find([ended, queued]) == here.table.find([ended, queued])
    table.close()


def test_objects_replaced_during_the_copy_are_counted_and_their_job_goes_back(here, tmp_path, monkeypatch):
    ended, running = here.ended(), here.running()
    replaceable = backup._replaceable

    def commits_first(table):
        found = replaceable(table)
        for _ in range(3):
            here.work(4, checkpoint=True)
        return found

    monkeypatch.setattr(backup, "_replaceable", commits_first)
    before = here.table.get(running)
    copied = backup.back_up(here.settings, tmp_path / "copy")
    assert copied.replaced >= 3, "two checkpoints and the partly filled shards"
    copy = Patient(f"sqlite:///{tmp_path}/copy/jobs.sqlite", (tmp_path / "copy" / "store").as_uri(), tmp_path / "copy")
    assert copy.table.get(running) == before
    copy.table.hand_back(running, before.epoch)  # otherwise its lease would have to expire
    code, found = look(tmp_path / "copy")
    assert code == doctor.UNSOUND
    assert set(found) == {"checkpoints", "frames"}
    assert look(tmp_path / "copy", repair=True)[0] == doctor.SOUND == look(tmp_path / "copy", deep=True)[0]
    assert copy.table.get(running).checkpoint is None
    copy.jobs = [running, ended]
    copy.goes_on(running)
    copy.table.close()


@pytest.mark.parametrize(
    ("settings", "folder", "why"),
    [
        ({"database_url": "postgresql://u:p@127.0.0.1/x"}, "copy", "use pg_dump"),
        ({}, "full", "is not empty"),
        ({"database_url": "sqlite:///nowhere/jobs.sqlite"}, "copy", "no such file"),
    ],
)
def test_an_impossible_backup_is_refused_and_nothing_is_written(here, tmp_path, settings, folder, why):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    refused = here.settings.model_copy(update=settings)
    with pytest.raises(ValueError, match=why):
        backup.back_up(refused, tmp_path / folder)
    assert not (tmp_path / "copy").exists()
    assert os.listdir(tmp_path / "full") == ["file"]


@pytest.fixture
def remote(postgresql_url, s3, law, tmp_path, monkeypatch):
    yield from patient_of(postgresql_url, s3.url(), law, tmp_path, monkeypatch)


def test_a_dump_of_postgresql_and_then_a_copy_of_the_bucket_are_a_backup_too(remote, postgresql, s3, tmp_path):
    ended, queued, running = remote.ended(), remote.queued(), remote.running()
    before = remote.table.find([ended, queued, running])
    tools, server = initdb(), postgresql.replace("+psycopg", "")
    dump, url = tmp_path / "jobs.dump", remote.settings.database_url
    schema = url.rpartition("search_path%3D")[2]
    pg_dump = [tools.with_name("pg_dump"), "--format=custom", f"--schema={schema}", f"--file={dump}", server]
    subprocess.run(pg_dump, check=True)
    remote.work(4, checkpoint=True)  # between the two copies
    remote.work(4, checkpoint=True)
    copied_url = s3.url()
    for key in remote.store.list("jobs/"):
        open_store(copied_url).put(key, remote.store.get(key))
    engine = create_engine(postgresql, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql("CREATE DATABASE restored")
    engine.dispose()
    restore = [tools.with_name("pg_restore"), f"--dbname={server.replace('/postgres?', '/restored?')}", dump]
    subprocess.run(restore, check=True)
    copy = Patient(url.replace("/postgres?", "/restored?"), copied_url, tmp_path)
    assert copy.table.find([ended, queued, running]) == before
    copy.table.hand_back(running, before[2].epoch)
    assert set(copy.found(deep=True)) == {"checkpoints", "frames"}
    assert copy.look(repair=True)[0] == doctor.SOUND
    assert copy.table.get(running).checkpoint is None
    assert copy.table.find([ended, queued]) == before[:2]
    copy.jobs = [ended, queued, running]
    copy.goes_on(running)
    copy.goes_on(queued)
    copy.table.close()


@pytest.fixture
def start():
    """Starts services, and stops them after the test."""
    with ExitStack() as stack:

        def starting(data: Path, **settings: str) -> Service:
            up = Service(data, "--no-flower", **settings).start()
            stack.callback(up.stop)
            return up

        yield starting
    tickets.configure(Settings())  # the doctor has asked the brokers of these services


def test_a_running_service_is_backed_up_restored_and_ends_every_job_with_the_same_bits(start, tmp_path):
    data, copy = tmp_path / "data", tmp_path / "copy"
    add_laws(data)
    up = start(data, LEYM_GC_S="0")
    ended = up.client.submit(steps=50, seed=1, **SPEC).wait(240)
    jobs = [up.client.submit(steps=STEPS, seed=seed, **SPEC) for seed in range(2, 8)]  # a worker takes six
    jobs += [up.client.submit(steps=50, seed=seed, **SPEC) for seed in range(8, 10)]
    until(lambda: sum(len(references(up.table.get(job.id).checkpoint)) == 2 for job in jobs) > 1, what="checkpoints")
    done = leym_here("backup", str(copy), "--json", LEYM_DATA=str(data))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["objects"] > 10, done.stderr
    done = leym_here("doctor", LEYM_DATA=str(data))
    assert done.returncode == 0, done.stdout  # of the running service
    table = JobTable(f"sqlite:///{copy}/jobs.sqlite")
    states = [row.state for row in table.find([job.id for job in jobs])]
    assert "running" in states
    assert "queued" in states
    assert table.get(ended.id).state == "succeeded"
    table.close()
    for job in jobs:
        job.wait(240)
    shutil.move(copy, tmp_path / "restored")  # a backup may be moved
    until(
        lambda: leym_here("doctor", "--repair", LEYM_DATA=str(tmp_path / "restored")).returncode == 0,
        what="leases have expired and jobs are repaired",
    )
    restored = start(tmp_path / "restored").client
    for job in [ended, *jobs]:
        other = restored.job(job.id).wait(240)
        assert other.state == "succeeded"
        for field in SPEC["record"]:
            for mine, theirs in zip(job.array(field), other.array(field), strict=True):
                assert np.array_equal(mine, theirs), (job.id, field)
        assert {k: v.tolist() for k, v in job.series().items()} == {k: v.tolist() for k, v in other.series().items()}
    done = leym_here("doctor", "--deep", "--json", LEYM_DATA=str(tmp_path / "restored"))
    assert done.returncode == 0, done.stdout
    assert json.loads(done.stdout)["sound"], done.stdout
