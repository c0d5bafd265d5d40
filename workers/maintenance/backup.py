"""`leym backup`: a copy of the service whose data is on this machine, in a folder that is a data folder itself.

The job table comes first: what it names is then in the store or, of a job that lives, was replaced by something newer
(`docs/operations.md` says what becomes of such a job). What may be replaced is therefore copied before the rest.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Iterable
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Annotated

import typer

from leym.cli.output import USAGE, note
from leym.contract.records import LIVE
from leym.frames.checkpoint import is_checkpoint
from leym.frames.garbage import referenced_keys
from leym.frames.manifest import is_partial
from leym.frames.stores.files import FileStore
from leym.frames.stores.open import folder_of
from leym.jobs.database import address_of
from leym.jobs.table import JobTable
from leym.settings import Settings, settings

KEPT = ("laws", "projects", "fidelity", "link-key")  # of the data folder, beside job table and store
FOLDERS = ("jobs/", "states/")  # of the store


@dataclass
class Copied:
    """replaced: objects of the job table's copy that were gone when their turn came."""

    objects: int = 0
    bytes: int = 0
    replaced: int = 0


def back_up(settings: Settings, folder: Path) -> Copied:
    """Copy into `folder`, which must be new or empty. Raises ValueError if it is not, or the job table is no SQLite
    file; OSError or sqlite3.Error when something cannot be read or written."""
    url = address_of(settings.database)
    if url.get_backend_name() != "sqlite" or not url.database:
        raise ValueError(
            f"job table {url.render_as_string()}: use pg_dump (docs/operations.md); this copies SQLite only"
        )
    if not Path(url.database).is_file():
        raise ValueError(f"job table {url.database}: there is no such file")
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"folder {folder} is not empty")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)  # the table names tokens, the link key signs links
    table = folder / "jobs.sqlite"
    with closing(sqlite3.connect(url.database)) as source, closing(sqlite3.connect(table)) as copy:
        source.backup(copy)
    copied = Copied()
    if store := folder_of(settings.store):
        _store(store, folder / "store", _volatile(table), copied)
    for name in KEPT:
        _keep(settings.data / name, folder / name)
    os.sync()
    return copied


def _volatile(table: Path) -> list[str]:
    """What the copied rows of live jobs name and the next commit of each may replace."""
    copy = JobTable(table.absolute())
    try:
        keys: list[str] = []
        for state in sorted(LIVE):
            cursor: str | None = None
            while True:
                page, cursor = copy.list(state=state, limit=500, cursor=cursor)
                for job in page:
                    keys += [key for key in sorted(referenced_keys(job)) if is_checkpoint(key) or is_partial(key)]
                if cursor is None:
                    break
        return keys
    finally:
        copy.close()


def _store(source: Path, target: Path, first: Iterable[str], copied: Copied) -> None:
    store = FileStore(target)
    for key in first:
        copied.replaced += not _copy(source, store, key, copied)
    if source.is_dir():
        for key in chain.from_iterable(map(FileStore(source).list, FOLDERS)):
            if store.head(key) is None:
                _copy(source, store, key, copied)


def _copy(source: Path, store: FileStore, key: str, copied: Copied) -> bool:
    target = store.root / key
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        shutil.copy2(source / key, target)  # with its time: uploaded states are kept by their age
    except FileNotFoundError:
        return False
    copied.objects += 1
    copied.bytes += target.stat().st_size
    return True


def _keep(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns(".*"))  # .work-…, .gone-…: unfinished
    else:
        with suppress(FileNotFoundError):
            shutil.copy2(source, target)


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def run(
    folder: Annotated[Path, typer.Argument(help="a new or empty folder")],
    as_json: Annotated[bool, typer.Option("--json", help="one JSON document on stdout")] = False,
) -> None:
    """Copy job table, store, laws and link key into a new data folder."""
    configured = settings()
    try:
        copied = back_up(configured, folder)
    except (ValueError, OSError, sqlite3.Error) as error:
        note(f"leym backup: {error}")
        raise typer.Exit(USAGE) from error
    if as_json:
        print(json.dumps(asdict(copied)))
        return
    print(f"job table; {copied.objects} objects, {copied.bytes} bytes of the store")
    if folder_of(configured.store) is None:
        print(f"store {configured.store}: copy it now, with the bucket's own tools")
    if copied.replaced:
        print(f"{copied.replaced} objects of live jobs were replaced meanwhile: see `leym doctor --repair` of the copy")


if __name__ == "__main__":
    app(prog_name="leym backup")
