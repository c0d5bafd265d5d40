"""The checks of `leym doctor`: the job table against the store, the laws and the broker. With `repair`, what can be is.

All of it is safe beside a running service. Nothing is called damaged before the row has been read again, and whatever
is changed is changed by a transaction that names the epoch or the state that the job was found in. A job that a worker
holds is left to it.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain

from leym import tickets
from leym.contract.records import Fenced, Job, JobState
from leym.events import Events
from leym.frames.garbage import referenced_keys
from leym.frames.inspection import Damage, find_damage, last_good_checkpoint
from leym.frames.states import has_state
from leym.frames.stores.base import Store, StoreUnavailable
from leym.jobs.lease_watch import LeaseWatch
from leym.jobs.table import JobTable
from leym.laws.registry import project_registry
from leym.settings import Settings
from workers.maintenance.collector import ALIVE_HEARTBEATS, Collector
from workers.reaper import SETTLED_S, Reaper

PAGE = 500  # rows read at once
READERS = 8  # jobs whose objects are looked at at once
UNREADABLE = (ValueError, LookupError, TypeError)  # of rows that do not fit this program
AGAIN_S = 1.0  # a ticket that a worker has just taken is missed for a moment


@dataclass
class Check:
    """What one check saw. looked: in words. note: what it found is no fault. todo: what to do about what is left."""

    name: str
    looked: str = ""
    found: int = 0
    repaired: int = 0
    examples: list[str] = field(default_factory=list)
    todo: str = ""
    note: bool = False
    error: str = ""  # why it could not look

    @property
    def left(self) -> int:
        return self.found - self.repaired

    def add(self, id: str, why: str, repaired: bool = False) -> None:
        self.found += 1
        self.repaired += repaired
        self.examples.append(f"{id}: {why}")


class Checkup:
    """Each method is one look, and raises OSError, RedisError, kombu's or SQLAlchemy's errors when it cannot look."""

    def __init__(self, table: JobTable, store: Store, settings: Settings, *, repair: bool, deep: bool):
        self.table, self.store, self.settings = table, store, settings
        self.repair, self.deep = repair, deep
        self.reaper = Reaper(table, Events(settings.redis_url or None), settings)

    def leases(self) -> list[Check]:
        """Jobs of silent workers that nobody has reaped for a whole lease. Clocks only raise the suspicion: a suspect
        is watched for its lease."""
        held = self.table.leases()
        check = Check("leases", f"{len(held)} running jobs", todo="start a worker, or --repair")
        long_ago = time.time() - self.settings.lease_s
        if any(until is not None and until < long_ago for _, until in held.values()):
            watch = LeaseWatch(self.settings.lease_s)
            watch.lapsed(held)
            time.sleep(self.settings.lease_s)
            silent = watch.lapsed(self.table.leases())
            reaped = self.reaper.reap(silent) if self.repair else []
            for job_id, (_, until) in sorted(silent.items()):
                check.add(job_id, f"its worker has been silent since {_at(until)}", job_id in reaped)
        return [check]

    def workers(self) -> list[Check]:
        """Whether somebody takes the jobs that wait. If not, that is a note: nothing is damaged."""
        alive = self.table.workers(ALIVE_HEARTBEATS * self.settings.heartbeat_s)
        states = ", ".join(f"{n} {state}" for state, n in sorted(Counter(worker.state for worker in alive).items()))
        queued = self.table.counts().get(JobState.QUEUED, 0)
        todo = "start one (`leym up`), or let a paused one fetch again: Flower, add consumer"
        check = Check("workers", f"{states or 'none'}; {queued} jobs wait", todo=todo, note=True)
        if queued and not any(worker.state in ("ready", "starting") for worker in alive):
            check.add("queue", f"{queued} jobs wait and no worker takes them")
        return [check]

    def laws(self) -> list[Check]:
        """Laws that live jobs are pinned to."""
        pinned: dict[tuple[str, str], list[str]] = {}
        for state in (JobState.QUEUED, JobState.RUNNING, JobState.PAUSED):
            for job in self._rows(state):
                pinned.setdefault((job.project, job.law), []).append(job.id)
        check = Check("laws", f"{len(pinned)} laws of live jobs", todo="put the law back, or cancel the jobs")
        for (project, law), jobs in sorted(pinned.items()):
            if not project_registry(project, self.settings.data).find(law):
                check.add(law, f"project {project!r} does not have it; {len(jobs)} live jobs need it, as {jobs[0]}")
        return [check]

    def starts(self) -> list[Check]:
        """Uploaded states that live jobs start from; a job that goes back to step 0 needs its own again."""
        states = self.table.dependencies().states
        check = Check("starts", f"{len(states)} uploaded states of live jobs", todo="upload the same file again")
        for state in sorted(states):
            if not has_state(self.store, state) and state in self.table.dependencies().states:
                check.add(state, "is not in the store")
        return [check]

    def objects(self) -> list[Check]:
        """What rows name, in the store: checkpoints and frames of live jobs, results of those that have ended."""
        held = "a job that runs is not touched: stop its worker, then --repair"
        checkpoints, frames = Check("checkpoints", todo=held), Check("frames", todo=held)
        results = Check("results", todo="lost: restore them from a backup, or submit the same again for the same bits")
        rows = Check("rows", "their specs and manifests", todo="update this program")
        live = ended = 0
        empty = next(iter(self.store.scan("jobs/")), None) is None
        with ThreadPoolExecutor(READERS) as readers:
            for job, found in chain.from_iterable(readers.map(self._examine, page) for page in self._pages()):
                live, ended = live + (not job.final), ended + job.final
                if isinstance(found, Exception):
                    rows.add(job.id, f"{type(found).__name__}: {str(found).splitlines()[0]}")
                elif found and empty:
                    where = f"store {self.settings.store}"
                    raise StoreUnavailable(f"{where}: it has no object of any job, and rows name some: is it the one?")
                elif found and job.final:
                    results.add(job.id, f"{_said(found)}, {len(found)} objects in all")
                elif found:
                    self._live(job, found, checkpoints, frames)
        depth = "all read, checksums compared" if self.deep else "sizes only; --deep reads them"
        checkpoints.looked = frames.looked = f"{live} live jobs ({depth})"
        results.looked = f"{ended} ended jobs ({depth})"
        return [rows, checkpoints, frames, results]

    def tickets(self) -> list[Check]:
        """Queued jobs that no ticket tells of."""
        check = Check("tickets", todo="start a worker, or --repair")
        missed = self._ticketless()
        if missed:
            time.sleep(AGAIN_S)
            missed &= self._ticketless()
        sent, wanted = 0, len(missed) if self.repair else 0
        while sent < wanted and (more := self.reaper.send_missing()):
            sent += more
        for n, job_id in enumerate(sorted(missed)):
            check.add(job_id, "is queued, and no ticket is there for it", n < sent)
        check.looked = f"{self.table.counts()[JobState.QUEUED]} queued jobs, {self._tickets()} tickets"
        return [check]

    def garbage(self) -> list[Check]:
        """Objects that nobody needs. `leym gc` removes them, and those that no row knows are left for people."""
        found = Collector(self.table, self.store, self.settings).collect(dry_run=True)
        due = Check("garbage", "objects that can go", found.objects, note=True, todo="`leym gc` removes them")
        due.looked += f": {found.bytes} bytes, of {len(found.expired)} expired jobs among others"
        strangers = Check("strangers", "jobs with objects and no row", found.unknown_jobs, note=True)
        strangers.examples = found.unknown
        strangers.todo = "`leym gc` leaves them: delete jobs/ID/ by hand if this is the only job table of the store"
        return [due, strangers]

    # --- inside

    def _rows(self, state: JobState) -> Iterator[Job]:
        return chain.from_iterable(self._pages(state))

    def _pages(self, state: JobState | None = None) -> Iterator[list[Job]]:
        cursor: str | None = None
        while True:
            page, cursor = self.table.list(state=state, limit=PAGE, cursor=cursor)
            yield page
            if cursor is None:
                return

    def _examine(self, job: Job) -> tuple[Job, list[Damage] | Exception]:
        """The row as it is now, and what is damaged of what it names."""
        try:
            found = [] if job.gone(time.time()) else find_damage(self.store, job, deep=self.deep)
            if not found:
                return job, []
            [now] = self.table.find([job.id])
            if now.gone(time.time()):
                return now, []
            named = referenced_keys(now)
        except UNREADABLE as error:
            return job, error
        return now, [damage for damage in found if damage.key in named]

    def _live(self, job: Job, found: list[Damage], checkpoints: Check, frames: Check) -> None:
        good = last_good_checkpoint(job, found)
        if good == job.checkpoint and job.state != JobState.RUNNING:
            return  # it goes on from before the damage and writes that again
        back = f"step {good['step']}" if good else "the beginning"
        if job.state == JobState.RUNNING:
            done, then = False, "a worker holds it"
        elif self.repair:
            done, then = self._send_back(job, good), f"sent back to {back}"
            then = then if done else "it was claimed meanwhile; look again"
        else:
            done, then = False, f"--repair sends it back to {back}"
        for check, these in (
            (checkpoints, [damage for damage in found if damage.first_step is None]),
            (frames, [damage for damage in found if damage.first_step is not None]),
        ):
            if these:
                check.add(job.id, f"{_said(these)}; {then}", done)

    def _send_back(self, job: Job, good: dict[str, object] | None) -> bool:
        try:
            self.table.fall_back(job.id, job.epoch, good, job.state)
        except Fenced:
            return False
        return True

    def _ticketless(self) -> set[str]:
        lost = self.table.counts()[JobState.QUEUED] - self._tickets()
        return {job.id for job in self.table.unticketed(SETTLED_S, lost)} if lost > 0 else set()

    def _tickets(self) -> int:
        return tickets.waiting(self.settings.redis_url, self.settings.queue)


def _said(found: list[Damage]) -> str:
    return f"{found[0].key} {found[0].why}"


def _at(seconds: float | None) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
