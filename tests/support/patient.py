"""Jobs and their objects for tests of the doctor, and ways to damage them."""

from __future__ import annotations

import shutil
import time

from leym.frames.layout import arrays_of
from leym.frames.manifest import committed_arrays
from leym.frames.stores.base import Store
from leym.frames.stores.open import open_store
from leym.jobs.table import JobTable
from leym.settings import Settings
from tests.support import job_world
from tests.support.job_world import World
from workers.maintenance import checkup, doctor
from workers.maintenance.checkup import Check

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
        self.table.mark_ticketed([job_id], self.now)
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
        return committed_arrays(job.manifest, [found])[array].keys(job_id, found)

    def break_object(self, key: str, how: str) -> None:
        break_object(self.store, key, how)


def break_object(store: Store, key: str, how: str) -> None:
    data = store.get(key)
    changed = {"cut": data[: len(data) // 2], "empty": b"", "flipped": bytes([data[0] ^ 1, *data[1:]] if data else [])}
    store.delete([key])
    if how != "gone":
        store.put(key, changed[how])


def patient_of(url, store_url, law, tmp_path, monkeypatch):
    monkeypatch.setattr("leym.frames.layout.SHARD_FRAMES", 4)
    monkeypatch.setattr(job_world, "LAW", {"law": law.ref, "precision": "fp32", "d_state": 3})
    monkeypatch.setattr(checkup, "RECHECK_S", 0.0)
    shutil.copytree(law.path, tmp_path / "laws" / "tiny")
    made = Patient(url, store_url, tmp_path)
    yield made
    made.table.close()
