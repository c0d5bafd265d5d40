"""The collector: lets results expire and removes what nobody needs from the store. Also `leym gc`.

It runs in every worker and supervisor, and several at once do no harm: the table says what is needed, and removing an
object twice is removing it once. Together they go over the store about once per LEYM_GC_S.
"""

from __future__ import annotations

import json
import logging
import random
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from itertools import groupby
from typing import Annotated

import typer
from sqlalchemy.exc import InterfaceError, OperationalError

from leym.cli.output import FAILED, note
from leym.contract.records import Job
from leym.frames.garbage import garbage, referenced_bytes
from leym.frames.layout import job_prefix
from leym.frames.states import retire_state, stale_states
from leym.frames.stores.base import Entry, Store
from leym.frames.stores.open import open_store
from leym.jobs.table import JobTable, open_table
from leym.settings import Settings, settings

log = logging.getLogger(__name__)

JOBS_AT_ONCE = 100  # whose rows are read together
UNKNOWN_NAMED = 100
ALIVE_HEARTBEATS = 5


@dataclass
class Collected:
    """What one pass removed, or would remove."""

    expired: list[str] = field(default_factory=list)  # jobs
    objects: int = 0
    bytes: int = 0
    states_retired: int = 0  # uploads that have left, and are deleted an hour later
    unknown_jobs: int = 0  # folders of jobs that the table does not have: left alone, the table may be the wrong one
    unknown: list[str] = field(default_factory=list)  # some of them


class Collector:
    """A thread that calls `collect` now and then."""

    def __init__(self, table: JobTable, store: Store, settings: Settings):
        self.table, self.store, self.settings = table, store, settings
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="collector", daemon=True)

    def start(self) -> None:
        if self.settings.gc_s:
            self._thread.start()

    def stop(self) -> None:
        """Returns at once: a pass ends at its next object, and one that waits for the store harms nobody."""
        self._stopped.set()

    def collect(self, *, dry_run: bool = False, now: float | None = None) -> Collected:
        """One pass. Raises OSError or sqlalchemy's errors when the store or the table does not answer."""
        now = time.time() if now is None else now
        found = Collected(self.table.expirable(now) if dry_run else self.table.expire(now))
        for job, objects in self._by_job(found):
            if job.id in found.expired:
                job = replace(job, manifest={}, checkpoint=None)  # as it is, unless this is a dry run
            elif job.final and not job.stored_bytes and not dry_run:
                self._count(job, objects)
            unneeded = _garbage(job, objects)
            self._remove(unneeded, found, dry_run)
            if len(unneeded) == len(objects) and job.gone(now) and not dry_run:
                self.store.delete_prefix(job_prefix(job.id))  # empty folders
        self._states(found, dry_run, now)
        return found

    def _by_job(self, found: Collected) -> Iterator[tuple[Job, list[Entry]]]:
        """Every job that has objects, with them."""
        waiting: dict[str, list[Entry]] = {}
        for job_id, objects in groupby(self.store.scan("jobs/"), lambda entry: entry.key.split("/")[1]):
            if self._stopped.is_set():
                return
            waiting.setdefault(job_id, []).extend(objects)
            if len(waiting) >= JOBS_AT_ONCE:
                yield from self._known(waiting, found)
                waiting = {}
        yield from self._known(waiting, found)

    def _known(self, objects: dict[str, list[Entry]], found: Collected) -> Iterator[tuple[Job, list[Entry]]]:
        rows = self.table.find(list(objects))
        unknown = objects.keys() - {job.id for job in rows}
        found.unknown_jobs += len(unknown)
        found.unknown += sorted(unknown)[: UNKNOWN_NAMED - len(found.unknown)]
        for job in rows:
            yield job, objects[job.id]

    def _count(self, job: Job, objects: list[Entry]) -> None:
        """Jobs that ended before their bytes were counted (`leym.jobs.schema`, version 0004)."""
        try:
            stored = referenced_bytes(job, objects)
        except ValueError:  # `_garbage` says so
            return
        if stored:
            self.table.set_stored_bytes(job.id, stored)

    def _states(self, found: Collected, dry_run: bool, now: float) -> None:
        if not self.settings.state_ttl_s or self._stopped.is_set():
            return
        needed = self.table.dependencies().states
        retire, delete = stale_states(self.store, needed, self.settings.state_ttl_s, now)
        found.states_retired = len(retire)
        if not dry_run:
            for entry in retire:
                retire_state(self.store, entry.key)
        self._remove(delete, found, dry_run)

    def _remove(self, entries: list[Entry], found: Collected, dry_run: bool) -> None:
        found.objects += len(entries)
        found.bytes += sum(entry.size for entry in entries)
        if entries and not dry_run:
            self.store.delete(entry.key for entry in entries)

    def _run(self) -> None:
        while not self._stopped.wait(self._pause_s()):
            try:
                found = self.collect()
            except (OperationalError, InterfaceError) as error:
                log.warning("no garbage is collected: the job table does not answer: %s", error)
            except OSError as error:
                log.warning("no garbage is collected: the store does not answer: %s", error)
            else:
                if found.expired or found.objects or found.states_retired:
                    log.info("collected: %s", found)

    def _pause_s(self) -> float:
        """So long that all workers together pass about once per gc_s, at moments of their own."""
        try:
            workers = len(self.table.workers(ALIVE_HEARTBEATS * self.settings.heartbeat_s))
        except (OperationalError, InterfaceError):
            workers = 0
        return self.settings.gc_s * max(1, workers) * random.uniform(0.5, 1.5)


def _garbage(job: Job, objects: list[Entry]) -> list[Entry]:
    try:
        return garbage(job, objects)
    except ValueError as error:
        log.warning("job %s: all its objects stay: %s", job.id, error)
        return []


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def run(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="change nothing; report what would be removed")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON document on stdout")] = False,
) -> None:
    """Let results expire, and remove objects that no job needs from the store, now."""
    configured = settings()
    table = open_table(configured)
    try:
        found = Collector(table, open_store(configured.store), configured).collect(dry_run=dry_run)
    except (OperationalError, InterfaceError, OSError) as error:
        note(f"leym gc: {error}")
        raise typer.Exit(FAILED) from error
    finally:
        table.close()
    if as_json:
        print(json.dumps(asdict(found)))
        return
    would = "would be " if dry_run else ""
    print(f"{len(found.expired)} jobs {would}expired; {found.objects} objects, {found.bytes} bytes {would}removed")
    if found.states_retired:
        print(f"{found.states_retired} uploaded states {would}retired")
    if found.unknown_jobs:
        print(f"{found.unknown_jobs} jobs have objects and no row in this job table; left alone")


if __name__ == "__main__":
    app(prog_name="leym gc")
