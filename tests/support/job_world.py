"""Jobs, their writers, zombies, forks, uploads and collectors in one world, for the tests of what may be removed.

Its clock is its own, and the store's too. While a collector works, others may act between any two things it does.
"""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from leym.contract.records import Fenced, Job, JobState
from leym.contract.spec import JobSpec
from leym.frames.checkpoint import get_checkpoint, put_checkpoint, references, stale_checkpoints
from leym.frames.garbage import referenced_bytes
from leym.frames.layout import arrays_of, job_prefix
from leym.frames.reader import FrameReader
from leym.frames.states import get_state, put_state
from leym.frames.stores.base import Entry, Store
from leym.frames.stores.open import open_store
from leym.frames.writer import FrameWriter
from leym.jobs.table import JobTable
from leym.settings import Settings
from tests.support.frames import SPEC, Writing, append_one, frame
from tests.support.refusals import tried
from workers.maintenance.collector import Collected, Collector
from workers.run_builder import stored_state

T0 = 1_000_000_000.0
DAY_S = 86400.0
LEASE_S = 20.0
LAW = {"law": "tiny@" + "0" * 64, "precision": "fp32", "d_state": 3}


def upload(n: int) -> bytes:
    file = io.BytesIO()
    np.save(file, np.full((4, 6, 3), n, np.complex64))
    return file.getvalue()


class Watched:
    """A store whose objects have times of the world's clock, and which lets others act before each of its doings."""

    def __init__(self, store: Store, clock: Callable[[], float]):
        self._store, self._clock = store, clock
        self._times: dict[str, float] = {}
        self.before: Callable[[], None] = lambda: None

    def put(self, key: str, *parts: bytes) -> None:
        self.before()
        self._store.put(key, *parts)
        self._times[key] = self._clock()

    def delete(self, keys: Iterable[str]) -> None:
        for key in list(keys):  # each by itself, as if the process were held up in between
            self.before()
            self._store.delete([key])

    def scan(self, prefix: str) -> Iterator[Entry]:
        found = list(self._store.scan(prefix))  # already old when it is returned
        for entry in found:
            self.before()
            yield entry._replace(modified=self._times.get(entry.key, entry.modified))

    def get(self, key: str) -> bytes:
        self.before()
        return self._store.get(key)

    def list_all(self, prefix: str) -> list[Entry]:
        """With nobody in between."""
        return list(self._store.scan(prefix))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


@dataclass
class Holder:
    """A worker with a claimed job, perhaps a zombie by now."""

    job: Job
    writer: FrameWriter
    at: int
    kept: dict[str, Any] | None  # the checkpoint that its row names


class World:
    def __init__(self, store: Store, table: JobTable, gc_s: float = 600.0):
        self.now = T0
        self.store: Any = Watched(store, lambda: self.now)
        self.table = table
        self.collector = Collector(table, self.store, Settings(state_ttl_s=DAY_S, gc_s=gc_s))
        self.jobs: list[str] = []
        self.states: list[str] = []
        self.holders: list[Holder] = []
        self.held_up: list[tuple[Holder, dict[str, Any] | None, bool]] = []
        self.readers: list[tuple[Job, int]] = []

    # --- what users do

    def submit(self, ttl_s: float | None = None, **initial: Any) -> bool:
        spec = JobSpec.model_validate(SPEC | {"ttl_s": ttl_s} | ({"initial": initial} if initial else {}))
        submitted, refusal = tried(lambda: self.table.submit(spec, **LAW, now=self.now))
        if submitted is None:
            assert refusal is not None
            assert refusal.status == 422
            assert initial
            return False
        self.jobs.append(submitted[0].id)
        return True

    def fork(self, of: int, during: Callable[[], None] = lambda: None) -> None:
        """As the API takes it in: it looks at the source, and somebody may act before the job is written."""
        if not self.jobs:
            return
        source = self.table.get(self.jobs[of % len(self.jobs)])
        if source.gone(self.now):
            return
        steps = FrameReader(self.store, source).steps("psi").tolist()
        if source.final and source.checkpoint:
            steps.append(int(source.checkpoint["step"]))
        if steps:
            during()
            self.submit(kind="state", job=source.id, step=steps[of % len(steps)])

    def put_state(self, n: int) -> None:
        self.states.append(put_state(self.store, upload(n)))

    def fork_upload(self, of: int, during: Callable[[], None] = lambda: None) -> None:
        if not self.states:
            return
        state = self.states[of % len(self.states)]
        _, refusal = tried(lambda: get_state(self.store, state))
        if refusal is not None:
            assert refusal.status == 404
            return
        during()
        assert self.submit(kind="upload", id=state)

    def delete(self, which: int) -> None:
        if self.jobs:
            job = self.jobs[which % len(self.jobs)]
            _, refusal = tried(lambda: self.table.delete(job, now=self.now))
            if refusal is not None:
                assert refusal.status == 409
            else:
                self.store.delete_prefix(job_prefix(job))

    def cancel(self, which: int) -> None:
        if self.jobs:
            self.table.cancel(self.jobs[which % len(self.jobs)], now=self.now)

    # --- what workers do

    def claim(self, which: int) -> None:
        if not self.jobs:
            return
        claim = self.table.claim(self.jobs[which % len(self.jobs)], "w", LEASE_S, 99, now=self.now)
        if claim:
            job = claim.job
            start = int(job.checkpoint["step"]) if job.checkpoint else -1
            writer = FrameWriter(self.store, job.id, job.epoch, arrays_of(job), job.manifest)
            writer.rewind([0], start)
            self.holders.append(Holder(job, writer, start, job.checkpoint))

    def work(
        self, which: int, *, commit: bool = True, checkpoint: bool = False, finish: bool = False, tidy: bool = True
    ) -> None:
        """Steps, and their commit; of a zombie too, who writes and is then refused. Without `tidy` it is held up before
        it removes what the commit has replaced."""
        if not self.holders:
            return
        held = self.holders[which % len(self.holders)]
        for _ in range(which % 7 + 1):
            held.at += 1
            append_one(held.writer, held.at, *frame(held.at))
        manifest, saved = held.writer.flush(), None
        if checkpoint or finish:
            psi = {"psi": frame(held.at)[0]["psi"]}
            saved = put_checkpoint(self.store, held.job.id, held.job.epoch, held.at, psi, None if finish else held.kept)
        if not commit:
            return
        stored = held.writer.stored_bytes + sum(int(ref["bytes"]) for ref in references(saved or held.kept))
        said: dict[str, Any] = {"step": held.at, "manifest": manifest, "checkpoint": saved, "stored_bytes": stored}
        try:
            if finish:
                self.table.finish(held.job.id, held.job.epoch, JobState.SUCCEEDED, **said, now=self.now)
            else:
                self.table.commit(held.job.id, held.job.epoch, **said)
        except Fenced:
            self.holders.remove(held)
            return
        self.holders.remove(held)
        self.held_up.append((held, saved, finish))
        if tidy:
            self.tidy(len(self.held_up) - 1)

    def tidy(self, which: int) -> None:
        """One that was held up after its commit goes on; somebody else may have the job by now."""
        if not self.held_up:
            return
        held, saved, finished = self.held_up.pop(which % len(self.held_up))
        self.store.delete(held.writer.superseded())
        if saved:
            held.kept = saved
            self.store.delete(stale_checkpoints(self.store, held.job.id, held.job.epoch, saved))
        if not finished:
            self.holders.append(held)

    def silence(self) -> None:
        """All leases run out; those who held them do not know it yet."""
        self.now += LEASE_S + 1
        self.table.reap(self.table.leases(), 99, now=self.now)

    def wait(self, days: float) -> None:
        self.now += days * DAY_S

    def collect(self) -> Collected:
        return self.collector.collect(now=self.now)

    # --- readers

    def open(self, which: int) -> None:
        """Somebody looks at a row, and will read its frames later."""
        if self.jobs:
            job = self.table.get(self.jobs[which % len(self.jobs)])
            if not job.gone(self.now):
                self.readers.append((job, len(FrameReader(self.store, job).steps("psi"))))

    def read(self) -> None:
        """What was seen then can be read now, however the objects were replaced since, or it is said to be gone."""
        for job, seen in self.readers:
            now = self.table.get(job.id)
            reader = FrameReader(self.store, job, lambda found=now: self._as_of_now(found))
            found, problem = tried(partial(Writing.check, None, reader, growing=True))  # type: ignore[arg-type]
            if problem is None:
                assert found >= seen
            else:
                assert problem.status == 410, problem.detail
                assert now.gone(self.now), problem.detail
        self.readers = []

    def _as_of_now(self, job: Job) -> Any:
        """Readers ask the clock of the machine, which is not this world's."""
        now = self.now
        return replace(job, deleted_at=now) if job.gone(now) else job

    # --- what must be true

    def check(self) -> None:
        """Everything that a reader, a resumed job or a fork will ask for is there and right; its bytes are counted."""
        for job in self.table.find(self.jobs):
            reader = FrameReader(self.store, job, lambda found=job: found)
            if not job.gone(self.now):
                assert Writing.check(None, reader) <= job.step + 1  # type: ignore[arg-type]
            for checkpoint in references(job.checkpoint):
                psi = get_checkpoint(self.store, checkpoint)["psi"]
                assert np.array_equal(psi, frame(int(checkpoint["step"]))[0]["psi"])
            if not job.final:
                self._check_start(job)
            assert job.stored_bytes == referenced_bytes(job, self.store.list_all(job_prefix(job.id)))

    def _check_start(self, job: Job) -> None:
        initial = JobSpec.model_validate(job.spec).initial
        if initial.kind in ("state", "upload"):
            state = stored_state(self.table, self.store, initial)
            if initial.kind == "state":
                assert np.array_equal(state, frame(initial.step)[0]["psi"])


ANY = st.integers(0, 999)
DOINGS = {
    "submit": lambda w, n: w.submit(ttl_s=(None, DAY_S, 3 * DAY_S)[n % 3]),
    "fork": lambda w, n: w.fork(n),
    "upload": lambda w, n: w.put_state(n % 2),
    "fork_upload": lambda w, n: w.fork_upload(n),
    "claim": lambda w, n: w.claim(n),
    "work": lambda w, n: w.work(n),
    "write": lambda w, n: w.work(n, commit=False),
    "checkpoint": lambda w, n: w.work(n, checkpoint=True),
    "finish": lambda w, n: w.work(n, finish=True),
    "commit": lambda w, n: w.work(n, checkpoint=n % 2 == 0, tidy=False),
    "tidy": lambda w, n: w.tidy(n),
    "open": lambda w, n: w.open(n),
    "read": lambda w, n: w.read(),
    "silence": lambda w, n: w.silence(),
    "cancel": lambda w, n: w.cancel(n),
    "delete": lambda w, n: w.delete(n),
    "wait": lambda w, n: w.wait(n % 3),
    "collect": lambda w, n: w.collect(),
}
DOING = st.tuples(st.sampled_from(sorted(DOINGS)), ANY)
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", 50))
number = count()


@contextmanager
def world(store_url: str) -> Iterator[World]:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr("leym.frames.layout.SHARD_FRAMES", 4)
        table = JobTable(f"sqlite:///{folder}/jobs.sqlite")
        yield World(open_store(f"{store_url}/{next(number)}"), table)
        table.close()
