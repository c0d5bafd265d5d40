"""A claimed training: what it commits, what it resumes from, and what it does not do when it has lost its claim."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from leym.contract.training_spec import TrainingSpec
from leym.engine import compute_threads
from leym.events import Events
from leym.frames.checkpoint import references
from leym.frames.layout import job_prefix
from leym.frames.stores.open import open_store
from leym.jobs.table import JobTable
from leym.laws.registry import Registry
from leym.training.trainer import train
from tests.support.training import recipe
from workers.claimed_job import HandedBack, WorkerContext
from workers.training_job import TrainingJob

TRAINED = recipe(train={"updates": 40, "checkpoint_every": 7})


class World:
    """A job table and a store with one training, and a worker that does `when` at an update."""

    def __init__(self, folder, plain):
        self.folder, self.table = folder, JobTable(folder / "jobs.sqlite")
        self.store = open_store((folder / "store").as_uri())
        spec = TrainingSpec(recipe=plain, law=plain["name"], grid=(8, 8), steps=plain["train"]["updates"])
        job, _ = self.table.submit(spec, law=plain["name"], precision="fp32", d_state=1)
        self.id = job.id

    def attempt(self, when=lambda job: None, at=0):
        """Run a claim to its end; `when(training)` is called as soon as update `at` is committed."""
        claim = self.table.claim(self.id, "worker", 60, 9)
        parts = {"table": self.table, "store": self.store, "events": Events(None), "commit_s": 0}
        parts |= dict.fromkeys(("on_admitted", "on_progress"), lambda: None)
        training = TrainingJob(claim.job, WorkerContext(**parts, draining=lambda: False), self.folder / "laws")
        commit = training._commit

        def committed(number):
            found = commit(number)
            if number == at:
                when(training)
            return found

        training._commit = committed
        training.start()
        training._thread.join(240)
        return training

    @property
    def row(self):
        [found] = self.table.find([self.id])
        return found

    def keys(self):
        return {entry.key for entry in self.store.scan(job_prefix(self.id))}


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path, TRAINED.as_dict())
    yield made
    made.table.close()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Train on as many threads as a job does, whatever number this one has: the bits depend on it."""
    with ThreadPoolExecutor(1, initializer=compute_threads.compute_on_pool) as thread:
        return thread.submit(train, TRAINED, tmp_path_factory.mktemp("alone")).result().digest


def killed(training):
    """End it like a process that has died: nothing is written any more."""
    training.end_with({"state": "killed"})
    training.stop()


def lost(world):
    """The worker's lease has lapsed."""
    world.table.reap(world.table.leases(), 9)


def test_it_ends_with_the_law_of_the_trainer_and_keeps_the_curve_only(world, undisturbed):
    assert world.attempt().outcome.result()["state"] == "succeeded"
    assert world.row.law == f"turning@{undisturbed}" == Registry(world.folder / "laws").resolve("turning").ref
    assert world.keys() == {world.row.manifest["curve"]["key"]}
    assert (world.row.step, world.row.steps, world.row.manifest["curve"]["rows"]) == (40, 40, 8)


@pytest.mark.parametrize("at", [5, 15, 33])
def test_the_next_attempt_ends_with_the_same_weights(world, undisturbed, at):
    world.attempt(killed, at)
    lost(world)
    assert world.row.step == at
    assert [ref["step"] for ref in references(world.row.checkpoint)] == [n for n in (28, 21, 14, 7) if n <= at][:2]
    assert world.attempt().outcome.result()["state"] == "succeeded"
    assert world.row.law == f"turning@{undisturbed}"


def test_a_damaged_checkpoint_costs_time_and_nothing_else(world, undisturbed):
    world.attempt(killed, 30)
    lost(world)
    newest, *_ = references(world.row.checkpoint)
    world.store.put(newest["key"], b"damaged")
    world.attempt()
    assert world.row.law == f"turning@{undisturbed}"


def test_a_worker_that_ends_hands_it_back_with_a_checkpoint_of_the_last_update(world, undisturbed):
    training = world.attempt(lambda training: training.stop(), 10)
    assert isinstance(training.outcome.exception(), HandedBack)
    assert (world.row.state, world.row.attempts) == ("queued", 0)
    assert world.row.checkpoint["step"] == 10
    world.attempt()
    assert world.row.law == f"turning@{undisturbed}"


def test_a_worker_that_has_lost_its_claim_writes_nothing_more(world):
    before = SimpleNamespace()

    def cancel(training):
        world.table.cancel(world.id)
        before.row = world.row

    training = world.attempt(cancel, 12)
    assert training.outcome.result()["state"] == "given up"
    assert world.row == before.row
    assert world.row.state == "cancelled"
    assert not (world.folder / "laws").exists()


def test_a_training_that_cannot_begin_fails_and_says_why(tmp_path):
    world = World(tmp_path, recipe(law={"d_state": 2}).as_dict())
    assert world.attempt().outcome.result()["state"] == "failed"
    assert "law.d_state = 2" in world.row.error["detail"]
    assert world.row.state == "failed"
    world.table.close()
