"""The checks of `leym doctor`: compare the job table with the store, the laws and the broker, and repair differences.

They are safe while the service runs. A row is read again before its objects are reported as damaged, and every repair
is a transaction that names the epoch or the state in which the job was found. Running jobs are not changed.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain

from leym import tickets
from leym.contract.records import SIMULATION, TRAINING, Fenced, Job, JobState
from leym.events import Events
from leym.frames.checkpoint import references
from leym.frames.garbage import referenced_keys
from leym.frames.inspection import Damage, find_damage, last_good_checkpoint
from leym.frames.states import has_state
from leym.frames.stores.base import Store, StoreUnavailable
from leym.jobs.lease_watch import LeaseWatch
from leym.jobs.table import JobTable
from leym.laws.registry import project_registry
from leym.settings import Settings
from workers.maintenance.collector import ALIVE_HEARTBEATS, Collector
from workers.reaper import RESEND_AFTER_S, Reaper

PAGE = 500  # rows per query
READERS = 8  # jobs whose objects are checked at the same time
UNREADABLE = (ValueError, LookupError, TypeError)  # raised by rows that another version of this program has written
RECHECK_S = 1.0  # a job whose ticket was just taken has no ticket for a moment, until it is claimed


@dataclass
class Check:
    """The result of one check; its attributes are keys of `leym doctor --json`.

    Attributes:
        name: The check.
        looked: What was checked, in words.
        found: Number of faults.
        repaired: Number of them that were repaired.
        examples: One line per fault.
        todo: What to do about the faults that are left.
        note: Whether the finds are no faults.
        error: Why the check could not be made.
    """

    name: str
    looked: str = ""
    found: int = 0
    repaired: int = 0
    examples: list[str] = field(default_factory=list)
    todo: str = ""
    note: bool = False
    error: str = ""

    @property
    def left(self) -> int:
        """Number of faults that are not repaired."""
        return self.found - self.repaired

    def add(self, id: str, why: str, repaired: bool = False) -> None:
        """Add a fault."""
        self.found += 1
        self.repaired += repaired
        self.examples.append(f"{id}: {why}")


class Checkup:
    """All checks but that of the schema; each public method makes one or several.

    They raise OSError, redis's, kombu's or SQLAlchemy's errors if they cannot be made.
    """

    def __init__(self, table: JobTable, store: Store, settings: Settings, *, repair: bool, deep: bool):
        """Prepare the checks.

        Args:
            table: The job table.
            store: The frame store.
            settings: The broker, the laws and the lease's length.
            repair: Whether to repair what can be repaired.
            deep: Whether to read every object and compare its checksums.
        """
        self.table, self.store, self.settings = table, store, settings
        self.repair, self.deep = repair, deep
        self.reaper = Reaper(table, Events(settings.redis_url or None), settings)

    def leases(self) -> list[Check]:
        """Find jobs of silent workers that no reaper has taken back for a whole lease.

        Clocks may differ, so if a lease seems to have expired long ago, all are watched for the length of a lease.
        """
        leases = self.table.leases()
        check = Check("leases", f"{len(leases)} running jobs", todo="start a worker, or --repair")
        long_ago = time.time() - self.settings.lease_s
        if any(until is not None and until < long_ago for _, until in leases.values()):
            watch = LeaseWatch(self.settings.lease_s)
            watch.lapsed(leases)
            time.sleep(self.settings.lease_s)
            silent = watch.lapsed(self.table.leases())
            reaped = self.reaper.reap(silent) if self.repair else []
            for job_id, (_, until) in sorted(silent.items()):
                check.add(job_id, f"its worker has been silent since {_timestamp(until)}", job_id in reaped)
        return [check]

    def workers(self) -> list[Check]:
        """Check that a worker takes the waiting jobs; if not, that is a note, for nothing is damaged."""
        alive = self.table.workers(ALIVE_HEARTBEATS * self.settings.heartbeat_s)
        states = ", ".join(f"{n} {state}" for state, n in sorted(Counter(worker.state for worker in alive).items()))
        trainings = self.table.trainings()[JobState.QUEUED]
        queued = self.table.counts().get(JobState.QUEUED, 0) - trainings
        todo = "start a worker (`leym up`), or let a paused one fetch again: Flower, add consumer"
        check = Check("workers", f"{states or 'none'}; {queued} jobs wait", todo=todo, note=True)
        able = {worker.kind for worker in alive if worker.state in ("ready", "starting")}
        if queued and SIMULATION not in able:
            check.add("queue", f"{queued} jobs wait and no worker takes them")
        if trainings and TRAINING not in able:
            check.add("queue of trainings", f"{trainings} trainings wait and no training worker takes them")
        return [check]

    def laws(self) -> list[Check]:
        """Check that the laws of live jobs exist."""
        pinned: dict[tuple[str, str], list[str]] = {}
        for state in (JobState.QUEUED, JobState.RUNNING, JobState.PAUSED):
            for job in self._rows(state):
                if job.is_training:  # it makes its law
                    continue
                pinned.setdefault((job.project, job.law), []).append(job.id)
        check = Check("laws", f"{len(pinned)} laws of live jobs", todo="put the law back, or cancel the jobs")
        for (project, law), jobs in sorted(pinned.items()):
            if not project_registry(project, self.settings.data).find(law):
                check.add(law, f"is not in project {project!r}; {len(jobs)} live jobs need it, such as {jobs[0]}")
        return [check]

    def starts(self) -> list[Check]:
        """Check that the uploaded states of live jobs exist: a job that goes back to step 0 needs its start state."""
        states = self.table.dependencies().states
        check = Check("starts", f"{len(states)} uploaded states of live jobs", todo="upload the same file again")
        for state in sorted(states):
            if not has_state(self.store, state) and state in self.table.dependencies().states:
                check.add(state, "is not in the store")
        return [check]

    def objects(self) -> list[Check]:
        """Check the objects that rows name: checkpoints and frames of live jobs, results of ended jobs."""
        todo = "running jobs are not changed: stop their workers, then --repair"
        checkpoints, frames = Check("checkpoints", todo=todo), Check("frames", todo=todo)
        results = Check("results", todo="lost: restore from a backup, or submit the same spec again for the same bits")
        rows = Check("rows", "specs and manifests", todo="update this program")
        live = ended = 0
        empty = next(iter(self.store.scan("jobs/")), None) is None
        with ThreadPoolExecutor(READERS) as readers:
            for job, found in chain.from_iterable(readers.map(self._examine, page) for page in self._pages()):
                live, ended = live + (not job.final), ended + job.final
                if isinstance(found, Exception):
                    rows.add(job.id, f"{type(found).__name__}: {str(found).splitlines()[0]}")
                elif found and empty:
                    why = "it has no object of any job, but rows name some: is it the right one?"
                    raise StoreUnavailable(f"store {self.settings.store}: {why}")
                elif found and job.final:
                    results.add(job.id, f"{_first(found)}, {len(found)} damaged objects in all")
                elif found:
                    self._add_live(job, found, checkpoints, frames)
        depth = "all read, checksums compared" if self.deep else "sizes only; --deep reads the objects"
        checkpoints.looked = frames.looked = f"{live} live jobs ({depth})"
        results.looked = f"{ended} ended jobs ({depth})"
        return [rows, checkpoints, frames, results]

    def webhooks(self) -> list[Check]:
        """Find deliveries of webhooks that are retried or have failed: usually their receivers are at fault."""
        check = Check("webhooks", note=True)
        found = self.table.failing_deliveries()
        check.looked = f"{found['waiting']} wait, {found['retrying']} are retried, {found['failed']} have failed"
        check.found = found["retrying"] + found["failed"]
        for state in ("failed", "pending"):
            for delivery in self.table.list_deliveries(state=state)[0]:
                if delivery.log:
                    check.examples.append(f"{delivery.subject} to {delivery.url}: {delivery.log[-1]['error']}")
        check.todo = "see GET /v1/webhooks/deliveries, and replay there what the receivers have missed"
        return [check]

    def tickets(self) -> list[Check]:
        """Find queued jobs without a ticket."""
        check = Check("tickets", todo="start a worker, or --repair")
        missing = self._without_ticket()
        if missing:
            time.sleep(RECHECK_S)
            missing &= self._without_ticket()
        sent, wanted = 0, len(missing) if self.repair else 0
        while sent < wanted and (more := self.reaper.send_missing()):
            sent += more
        for n, job_id in enumerate(sorted(missing)):
            check.add(job_id, "is queued without a ticket", n < sent)
        check.looked = f"{self.table.count_queued()} queued jobs and blocks, {self._tickets()} tickets"
        return [check]

    def garbage(self) -> list[Check]:
        """Find objects that `leym gc` would delete, and objects of jobs without a row, which it keeps."""
        found = Collector(self.table, self.store, self.settings).collect(dry_run=True)
        garbage = Check("garbage", "objects to delete", found.objects, note=True, todo="`leym gc` deletes them")
        garbage.looked += f": {found.bytes} bytes, of {len(found.expired)} expired jobs among others"
        strangers = Check("strangers", "jobs with objects and no row", found.unknown_jobs, note=True)
        strangers.examples = found.unknown
        strangers.todo = "`leym gc` keeps them: delete jobs/ID/ by hand if the store has no other job table"
        return [garbage, strangers]

    # --- inside

    def _rows(self, state: JobState) -> Iterator[Job]:
        return chain.from_iterable(self._pages(state))

    def _pages(self, state: JobState | None = None) -> Iterator[list[Job]]:
        cursor: str | None = None
        while True:
            page, cursor = self.table.list(state=state, blocks=True, limit=PAGE, cursor=cursor)
            yield page
            if cursor is None:
                return

    def _examine(self, job: Job) -> tuple[Job, list[Damage] | Exception]:
        """Return the row as it is now, and the damaged objects that it names."""
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

    def _add_live(self, job: Job, found: list[Damage], checkpoints: Check, frames: Check) -> None:
        """Add the damage of a live job to the checks, and with `repair` send the job back to before the damage."""
        good = last_good_checkpoint(job, found)
        if good == job.checkpoint and job.state != JobState.RUNNING:
            return  # it resumes from before the damage and writes the damaged frames again
        steps = [int(ref["step"]) for ref in references(good)]
        back = f"step {max(steps)}" if steps else "the beginning"
        if job.state == JobState.RUNNING:
            done, outcome = False, "a worker runs it"
        elif self.repair:
            done, outcome = self._send_back(job, good), f"sent back to {back}"
            outcome = outcome if done else "it was claimed meanwhile; check again"
        else:
            done, outcome = False, f"--repair sends it back to {back}"
        for check, damaged in (
            (checkpoints, [damage for damage in found if damage.first_step is None]),
            (frames, [damage for damage in found if damage.first_step is not None]),
        ):
            if damaged:
                check.add(job.id, f"{_first(damaged)}; {outcome}", done)

    def _send_back(self, job: Job, good: dict[str, object] | None) -> bool:
        try:
            self.table.fall_back(job.id, job.epoch, good, job.state)
        except Fenced:
            return False
        return True

    def _without_ticket(self) -> set[str]:
        lost = self.table.count_queued() - self._tickets()
        return {job.id for job in self.table.unticketed(RESEND_AFTER_S, lost)} if lost > 0 else set()

    def _tickets(self) -> int:
        return tickets.waiting_in_all(self.settings.redis_url, self.settings.queue)


def _first(found: list[Damage]) -> str:
    return f"{found[0].key} {found[0].why}"


def _timestamp(seconds: float | None) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
