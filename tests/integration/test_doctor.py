"""`leym doctor` finds every fault that a test makes, repairs what it can, and changes no sound or running job."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from redis import Redis
from sqlalchemy import create_engine, text, update

from leym import tickets
from leym.frames.checkpoint import references
from leym.frames.garbage import needed
from leym.frames.layout import SHARD_FRAMES, arrays_of, job_prefix
from leym.frames.manifest import series_of
from leym.frames.stores.base import Store
from leym.frames.stores.open import open_store
from leym.jobs.schema import jobs
from leym.jobs.table import JobTable
from leym.settings import Settings
from tests.integration.test_garbage import ANY, DOINGS, EXAMPLES, world
from tests.integration.test_migrations import FIRST
from tests.support import universe_of_jobs
from tests.support.laws import random_law
from tests.support.universe_of_jobs import World
from workers.broker import Broker, url_of
from workers.maintenance import checkup, doctor
from workers.maintenance.checkup import Check, Checkup

LEASE_S = 1.0


class Patient(World):
    """A world of jobs whose clock stands at the doctor's time, and whose law exists."""

    def __init__(self, url: str, store_url: str, data):
        self.settings = Settings(data=data, database_url=url, store_url=store_url, redis_url="", lease_s=LEASE_S)
        super().__init__(open_store(store_url), JobTable(url))
        self.now = time.time()

    def look(self, **options: bool) -> tuple[int, dict[str, Check]]:
        """Examine it; return the exit code and the checks by name."""
        checks = doctor.examine(self.settings, **options)
        return doctor.code_of(checks), {check.name: check for check in checks}

    def found(self, **options: bool) -> dict[str, tuple[int, int]]:
        """Examine it; return the numbers of faults found and repaired, by check."""
        return {name: (c.found, c.repaired) for name, c in self.look(**options)[1].items() if c.found and not c.note}

    def running(self, *doings: int) -> str:
        """A job that a worker runs: for each number (up to 7) so many steps and a checkpoint, then two steps.

        By default: checkpoints at the steps 5 and 12, frames up to 14.
        """
        self.submit()
        self.claim(len(self.jobs) - 1)
        self.holders = self.holders[-1:]
        for steps in doings or (6, 5):
            self.work(steps - 1, checkpoint=True)
            self.work(1)
        return self.jobs[-1]

    def queued(self, *doings: int) -> str:
        """The same job, handed back."""
        job_id = self.running(*doings)
        self.table.hand_back(job_id, self.table.get(job_id).epoch)
        self.table.ticketed([job_id], self.now)
        self.holders.clear()
        return job_id

    def ended(self) -> str:
        job_id = self.running()
        self.work(3, finish=True)
        return job_id

    def goes_on(self, job_id: str) -> None:
        """Run the job to its end and check everything that readers see of it."""
        self.claim(self.jobs.index(job_id))
        for _ in range(6):
            self.work(6)
        self.work(6, finish=True)
        self.check()
        assert self.table.get(job_id).final
        assert self.found(deep=True) == {}

    def keys(self, job_id: str, array: str) -> list[str]:
        job = self.table.get(job_id)
        found = next(a for a in arrays_of(job) if a.name == array)
        return series_of(job.manifest, [found])[array].keys(job_id, found)

    def break_object(self, key: str, how: str) -> None:
        break_object(self.store, key, how)


def break_object(store: Store, key: str, how: str) -> None:
    data = store.get(key)
    changed = {"cut": data[: len(data) // 2], "empty": b"", "flipped": bytes([data[0] ^ 1, *data[1:]] if data else [])}
    store.delete([key])
    if how != "gone":
        store.put(key, changed[how])


@pytest.fixture(scope="session")
def law(tmp_path_factory):
    return random_law(tmp_path_factory.mktemp("law") / "tiny", "MLP", d=3)


@pytest.fixture
def patient(place, law, tmp_path, monkeypatch):
    yield from _patient(*place, law, tmp_path, monkeypatch)


@pytest.fixture
def here(law, tmp_path, monkeypatch):
    """On SQLite and files only."""
    store_url = (tmp_path / "store").as_uri()
    yield from _patient(f"sqlite:///{tmp_path / 'jobs.sqlite'}", store_url, law, tmp_path, monkeypatch)


def _patient(url, store_url, law, tmp_path, monkeypatch):
    monkeypatch.setattr("leym.frames.layout.SHARD_FRAMES", 4)
    monkeypatch.setattr(universe_of_jobs, "LAW", {"law": law.ref, "precision": "fp32", "d_state": 3})
    monkeypatch.setattr(checkup, "RECHECK_S", 0.0)
    shutil.copytree(law.path, tmp_path / "laws" / "tiny")
    made = Patient(url, store_url, tmp_path)
    yield made
    made.table.close()


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
        "tickets",
    ]
    assert list(checks) == names
    assert checks["results"].looked.startswith("1 ended jobs")
    assert checks["frames"].looked.startswith("3 live jobs")
    assert "not checked" in checks["tickets"].looked
    patient.check()


@pytest.mark.parametrize("how", ["gone", "cut", "flipped"])
def test_a_live_job_goes_back_to_the_checkpoint_before_a_bad_one(patient, how):
    job_id = patient.queued()
    before = patient.table.get(job_id)
    newest, previous = references(before.checkpoint)
    patient.break_object(newest["key"], how)
    assert patient.found() == ({} if how == "flipped" else {"checkpoints": (1, 0)}), "its size is right"
    code, checks = patient.look(deep=True)
    assert code == doctor.UNSOUND
    assert checks["checkpoints"].left == 1
    assert f"--repair sends it back to step {previous['step']}" in checks["checkpoints"].examples[0]
    assert patient.table.get(job_id) == before, "an examination changes nothing"
    code, checks = patient.look(deep=True, repair=True)
    assert code == doctor.SOUND
    assert (checks["checkpoints"].found, checks["checkpoints"].repaired) == (1, 1)
    after = patient.table.get(job_id)
    assert (after.checkpoint, after.state, after.epoch) == (previous, "queued", before.epoch)
    assert (after.step, after.manifest) == (before.step, before.manifest), "readers see what they saw"
    assert patient.found(deep=True) == {}
    patient.goes_on(job_id)


def test_a_bad_older_checkpoint_is_not_named_any_more_and_a_job_without_any_starts_again(here):
    first, second = here.queued(), here.queued()
    newest, previous = references(here.table.get(first).checkpoint)
    here.break_object(previous["key"], "gone")
    for ref in references(here.table.get(second).checkpoint):
        here.break_object(ref["key"], "empty")
    assert here.found(repair=True) == {"checkpoints": (2, 2)}
    assert here.table.get(first).checkpoint == newest
    assert here.table.get(second).checkpoint is None
    here.goes_on(first)
    here.goes_on(second)


def test_a_running_job_is_not_changed(patient):
    job_id = patient.running()
    before = patient.table.get(job_id)
    patient.break_object(before.checkpoint["key"], "gone")
    patient.break_object(patient.keys(job_id, "psi")[0], "gone")
    code, checks = patient.look(repair=True)
    assert code == doctor.UNSOUND
    assert patient.table.get(job_id) == before
    for name in ("checkpoints", "frames"):
        assert checks[name].left == 1
        assert "a worker runs it" in checks[name].examples[0]


@pytest.mark.parametrize("how", ["gone", "empty", "cut", "flipped"])
@pytest.mark.parametrize("where", ["first shard", "last shard"])
def test_a_live_job_goes_back_to_before_its_lost_frames(here, where, how):
    job_id = here.queued(7, 7)  # checkpoints at the steps 6 and 15; four frames are a shard
    newest, previous = references(here.table.get(job_id).checkpoint)
    keys = here.keys(job_id, "psi")
    key = keys[0] if where == "first shard" else keys[int(newest["step"]) // 4]
    here.break_object(key, how)
    if how in ("cut", "flipped"):
        assert here.found() == {}
    assert here.found(deep=True) == {"frames": (1, 0)}
    assert here.found(deep=True, repair=True) == {"frames": (1, 1)}
    assert here.table.get(job_id).checkpoint == (None if where == "first shard" else previous)
    assert here.found(deep=True) == {}, "frames that are written again are not damaged"
    here.goes_on(job_id)


def test_a_shard_that_begins_at_the_checkpoint_is_needed_to_resume_from_it(here):
    job_id = here.queued()
    newest, previous = references(here.table.get(job_id).checkpoint)
    assert newest["step"] == 12  # the first of a shard
    here.break_object(here.keys(job_id, "psi")[3], "gone")
    assert here.found(repair=True) == {"frames": (1, 1)}
    assert here.table.get(job_id).checkpoint == previous
    here.goes_on(job_id)


def test_lost_frames_after_the_checkpoint_are_written_again_anyway(here):
    job_id = here.queued(7, 3)  # a checkpoint at step 11; frames 12 and 13 are a shard that is not full
    before = here.table.get(job_id)
    here.break_object(here.keys(job_id, "psi")[-1], "gone")
    assert here.found(repair=True, deep=True) == {}
    assert here.table.get(job_id) == before
    here.goes_on(job_id)


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


def test_a_job_that_is_claimed_while_it_is_checked_is_not_changed(here, monkeypatch):
    job_id = here.queued()
    here.break_object(here.table.get(job_id).checkpoint["key"], "gone")
    go_back = JobTable.go_back

    def claimed_first(table, *found):
        table.claim(job_id, "w", 60, 9)
        go_back(table, *found)

    monkeypatch.setattr(JobTable, "go_back", claimed_first)
    before = here.table.get(job_id).checkpoint
    code, checks = here.look(repair=True)
    assert code == doctor.UNSOUND
    assert "claimed meanwhile" in checks["checkpoints"].examples[0]
    assert here.table.get(job_id).checkpoint == before


def test_leases_that_ran_out_long_ago_are_reaped(patient):
    job_id = patient.running()
    assert patient.found() == {}
    for ago, expected in ((LEASE_S / 2, {}), (LEASE_S * 2, {"leases": (1, 0)})):
        with patient.table.db.write() as connection:
            connection.execute(update(jobs).where(jobs.c.id == job_id).values(lease_until=time.time() - ago))
        assert patient.found() == expected
    assert patient.table.get(job_id).state == "running"
    patient.break_object(patient.table.get(job_id).checkpoint["key"], "gone")
    assert patient.found(repair=True) == {"leases": (1, 1), "checkpoints": (1, 1)}, (
        "the lease first, then the checkpoint"
    )
    assert patient.table.get(job_id).state == "queued"


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


@pytest.mark.parametrize("how", ["no folder", "empty folder"])
def test_a_missing_store_starts_no_job_again(here, tmp_path, how):
    job_id = here.queued()
    before = here.table.get(job_id)
    shutil.rmtree(tmp_path / "store")
    if how == "empty folder":
        (tmp_path / "store").mkdir()
    code, checks = here.look(repair=True)
    assert code == doctor.INCOMPLETE
    assert here.table.get(job_id) == before
    assert (tmp_path / "store").exists() == (how == "empty folder")
    assert any("store" in check.error for check in checks.values())


def test_an_older_job_table_is_reported_and_migrated_and_a_newer_or_missing_one_is_not_changed(tmp_path, url):
    configured = Settings(data=tmp_path, database_url=url, store_url=(tmp_path / "store").as_uri())
    (tmp_path / "store").mkdir()

    def look(**options) -> tuple[int, list[Check]]:
        checks = doctor.examine(configured, **options)
        return doctor.code_of(checks), checks

    code, [schema] = look(repair=True)
    assert code == doctor.INCOMPLETE
    assert schema.error, "the examination creates no table"
    if url.startswith("sqlite"):
        (tmp_path / "new folder").mkdir()
    engine = create_engine(url)
    with engine.begin() as connection:
        for statement in FIRST.read_text().split(";"):
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


WORK = ("submit", "claim", "claim", "work", "write", "checkpoint", "checkpoint", "silence")
DOING = st.tuples(st.sampled_from(WORK), ANY)
SPOIL = st.tuples(st.integers(0, 999), st.sampled_from(["gone", "empty", "cut", "flipped"]))


@settings(max_examples=EXAMPLES // 3, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(DOING, min_size=8, max_size=40), st.lists(SPOIL, min_size=1, max_size=6))
def test_whatever_is_damaged_of_jobs_that_do_not_run_they_end_with_the_right_frames(doings, spoilt):
    with world("memory://") as made:
        made.now = time.time()
        made.submit()
        for name, n in doings:
            DOINGS[name](made, n)
        made.silence()
        named = sorted(key for job in made.table.find(made.jobs) for key in needed(job))
        for n, how in spoilt if named else []:
            if made.store.head(named[n % len(named)]):
                break_object(made.store, named[n % len(named)], how)
        steps = {job.id: job.step for job in made.table.find(made.jobs)}
        assume(next(made.store.scan("jobs/"), None))  # otherwise the store counts as missing
        for repair in (True, False):
            check = Checkup(made.table, made.store, Settings(redis_url=""), repair=repair, deep=True)
            assert all(found.left == 0 and (repair or not found.found) for found in check.objects())
        for n, job_id in enumerate(made.jobs):
            made.holders.clear()
            made.claim(n)
            while made.holders[0].at <= steps[job_id]:
                made.work(6)
            made.work(6, finish=True)
        made.check()


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
    here.table.ticketed(ids, time.time() - 100)
    code, checks = here.look()
    assert code == doctor.UNSOUND
    assert checks["tickets"].found == 3
    assert "3 queued jobs, 0 tickets" in checks["tickets"].looked
    with Redis.from_url(broker.url) as redis:
        assert tickets.waiting(broker.url, "leym") == 0, "an examination sends nothing"
        assert here.found(repair=True) == {"tickets": (3, 3)}
        assert tickets.waiting(broker.url, "leym") == 3
        assert here.found() == {}
        redis.flushall()
        here.table.ticketed(ids, time.time() - 100)
        tickets.send(here.table.get(ids[0]))
        assert here.found(repair=True) == {"tickets": (2, 2)}
        here.table.ticketed(ids)
        redis.flushall()
    assert here.found() == {}, "tickets sent a moment ago may be on their way"


def test_a_ticket_that_a_worker_has_just_taken_is_not_missing(here, broker, monkeypatch):
    job_id = here.queued()
    here.table.ticketed([job_id], time.time() - 100)
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
