"""Collector: lets results expire and deletes objects from the store that are not needed any more. Also `leym gc`.

It runs in every worker and supervisor. Several at once do no harm: the job table alone decides which objects are
needed, and deleting an object twice is the same as deleting it once. Together they scan the store about once per
LEYM_GC_S.
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

from leym.cli.output import FAILED, note
from leym.contract.records import Job
from leym.frames.garbage import garbage, referenced_bytes
from leym.frames.layout import job_prefix
from leym.frames.states import retire_state, stale_states
from leym.frames.stores.base import Entry, Store
from leym.frames.stores.open import open_store
from leym.jobs.table import JobTable, open_table
from leym.settings import Settings, settings
from workers.outages import STORE_OR_TABLE_UNAVAILABLE, TABLE_UNAVAILABLE

log = logging.getLogger(__name__)

JOBS_PER_QUERY = 100
MAX_UNKNOWN = 100  # ids of unknown jobs that are named
ALIVE_HEARTBEATS = 5


@dataclass
class Collected:
    """What one pass deleted, or would delete; its attributes are keys of `leym gc --json`.

    Attributes:
        expired: Ids of the jobs whose results expired.
        objects: Number of deleted objects.
        bytes: Their size.
        states_retired: Uploaded states that cannot be used any more, and are deleted an hour later.
        unknown_jobs: Jobs that have objects but no row. They are kept: the job table may be the wrong one.
        unknown: Ids of some of them.
    """

    expired: list[str] = field(default_factory=list)
    objects: int = 0
    bytes: int = 0
    states_retired: int = 0
    unknown_jobs: int = 0
    unknown: list[str] = field(default_factory=list)


class Collector:
    """A thread that calls `collect` at random times, on average as often as the period LEYM_GC_S asks for."""

    def __init__(self, table: JobTable, store: Store, settings: Settings):
        self.table, self.store, self.settings = table, store, settings
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="collector", daemon=True)

    def start(self) -> None:
        """Start the thread, unless LEYM_GC_S is 0."""
        if self.settings.gc_s:
            self._thread.start()

    def stop(self) -> None:
        """Stop the thread without waiting for it: a pass ends at its next job, and does no harm until then."""
        self._stopped.set()

    def collect(self, *, dry_run: bool = False, now: float | None = None) -> Collected:
        """Make one pass over job table and store.

        Args:
            dry_run: Whether nothing is changed.
            now: The time by which results expire, seconds since 1970; default: the clock's.

        Raises:
            OSError: The store does not answer.
            sqlalchemy.exc.OperationalError: The job table does not answer; InterfaceError likewise.
        """
        now = time.time() if now is None else now
        found = Collected(self.table.expirable(now) if dry_run else self.table.expire(now))
        for job, objects in self._by_job(found):
            if job.id in found.expired:
                job = replace(job, manifest={}, checkpoint=None)  # in a dry run the row still names its objects
            elif job.final and not job.stored_bytes and not dry_run:
                self._count_stored_bytes(job, objects)
            unneeded = _garbage(job, objects)
            self._delete(unneeded, found, dry_run)
            if len(unneeded) == len(objects) and job.gone(now) and not dry_run:
                self.store.delete_prefix(job_prefix(job.id))  # for the empty folders
        self._collect_states(found, dry_run, now)
        return found

    def _by_job(self, found: Collected) -> Iterator[tuple[Job, list[Entry]]]:
        """Yield every job that has objects, with its objects."""
        batch: dict[str, list[Entry]] = {}
        for job_id, objects in groupby(self.store.scan("jobs/"), lambda entry: entry.key.split("/")[1]):
            if self._stopped.is_set():
                return
            batch.setdefault(job_id, []).extend(objects)
            if len(batch) >= JOBS_PER_QUERY:
                yield from self._known(batch, found)
                batch = {}
        yield from self._known(batch, found)

    def _known(self, objects: dict[str, list[Entry]], found: Collected) -> Iterator[tuple[Job, list[Entry]]]:
        """Yield the jobs that have a row, and count the others."""
        rows = self.table.find(list(objects))
        unknown = objects.keys() - {job.id for job in rows}
        found.unknown_jobs += len(unknown)
        found.unknown += sorted(unknown)[: MAX_UNKNOWN - len(found.unknown)]
        for job in rows:
            yield job, objects[job.id]

    def _count_stored_bytes(self, job: Job, objects: list[Entry]) -> None:
        """Count the bytes of a job that ended before its row counted them (`leym.jobs.schema`, version 0004)."""
        try:
            stored = referenced_bytes(job, objects)
        except ValueError:  # its manifest cannot be read; `_garbage` logs that
            return
        if stored:
            self.table.set_stored_bytes(job.id, stored)

    def _collect_states(self, found: Collected, dry_run: bool, now: float) -> None:
        """Retire uploaded states from which no live job starts, and delete those that were retired long enough ago."""
        if not self.settings.state_ttl_s or self._stopped.is_set():
            return
        needed = self.table.dependencies().states
        retire, delete = stale_states(self.store, needed, self.settings.state_ttl_s, now)
        found.states_retired = len(retire)
        if not dry_run:
            for entry in retire:
                retire_state(self.store, entry.key)
        self._delete(delete, found, dry_run)

    def _delete(self, entries: list[Entry], found: Collected, dry_run: bool) -> None:
        found.objects += len(entries)
        found.bytes += sum(entry.size for entry in entries)
        if entries and not dry_run:
            self.store.delete(entry.key for entry in entries)

    def _run(self) -> None:
        while not self._stopped.wait(self._pause_s()):
            try:
                found = self.collect()
            except TABLE_UNAVAILABLE as error:
                log.warning("no garbage is collected: the job table does not answer: %s", error)
            except OSError as error:
                log.warning("no garbage is collected: the store does not answer: %s", error)
            else:
                if found.expired or found.objects or found.states_retired:
                    log.info("collected: %s", found)

    def _pause_s(self) -> float:
        """Return the seconds until the next pass: random, and so that all workers together make one per `gc_s`."""
        try:
            workers = len(self.table.workers(ALIVE_HEARTBEATS * self.settings.heartbeat_s))
        except TABLE_UNAVAILABLE:
            workers = 0
        return self.settings.gc_s * max(1, workers) * random.uniform(0.5, 1.5)  # noqa: S311 -- spreads the load, guards nothing


def _garbage(job: Job, objects: list[Entry]) -> list[Entry]:
    """Return the objects of a job that are not needed; none if its manifest cannot be read."""
    try:
        return garbage(job, objects)
    except ValueError as error:
        log.warning("job %s: all its objects are kept: %s", job.id, error)
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
    except STORE_OR_TABLE_UNAVAILABLE as error:
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
        print(f"{found.unknown_jobs} jobs have objects and no row in this job table; their objects are kept")


if __name__ == "__main__":
    app(prog_name="leym gc")
