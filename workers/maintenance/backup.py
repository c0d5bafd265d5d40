"""`leym backup`: copies the data of a service on this machine into a new data folder.

The job table is copied first. The objects that it names are then in the store, except those of live jobs that a later
commit has replaced (docs/operations.md describes what happens to such a job). To lose few of them, objects that may be
replaced are copied before the others.
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
from leym.frames.kept import is_kept_state
from leym.frames.manifest import is_partial
from leym.frames.stores.files import FileStore
from leym.frames.stores.open import folder_of
from leym.jobs.database import address_of
from leym.jobs.table import JobTable
from leym.settings import Settings, settings

DATA_ENTRIES = ("laws", "projects", "fidelity", "link-key")  # copied from the data folder, with job table and store
STORE_PREFIXES = ("jobs/", "states/")  # copied from the store
REFUSED = 2


@dataclass
class Copied:
    """The size of a backup; its attributes are keys of `leym backup --json`.

    Attributes:
        objects: Objects copied from the store.
        bytes: Their size.
        replaced: Objects that the copied job table names and that were replaced before they were copied.
    """

    objects: int = 0
    bytes: int = 0
    replaced: int = 0


def back_up(settings: Settings, folder: Path) -> Copied:
    """Copy job table, store, laws and link key into a folder, which must be new or empty.

    Raises:
        ValueError: The folder is not empty, or the job table is not a SQLite file.
        OSError: Something cannot be read or written.
        sqlite3.Error: The job table cannot be read or written.
    """
    url = address_of(settings.database)
    if url.get_backend_name() != "sqlite" or not url.database:
        raise ValueError(
            f"job table {url.render_as_string()}: leym backup copies SQLite only; use pg_dump (docs/operations.md)"
        )
    if not Path(url.database).is_file():
        raise ValueError(f"job table {url.database}: there is no such file")
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"folder {folder} is not empty")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)  # the table has tokens, the link key signs links
    table = folder / "jobs.sqlite"
    with closing(sqlite3.connect(url.database)) as source, closing(sqlite3.connect(table)) as copy:
        source.backup(copy)
    copied = Copied()
    if store := folder_of(settings.store):
        _copy_store(store, folder / "store", _replaceable(table), copied)
    for name in DATA_ENTRIES:
        _copy_entry(settings.data / name, folder / name)
    os.sync()
    return copied


def _replaceable(table: Path) -> list[str]:
    """Return the objects that rows of live jobs name and that the jobs' next commits may replace."""
    copy = JobTable(table.absolute())
    try:
        keys: list[str] = []
        for state in sorted(LIVE):
            cursor: str | None = None
            while True:
                page, cursor = copy.list(state=state, blocks=True, limit=500, cursor=cursor)
                for job in page:
                    named = sorted(referenced_keys(job))
                    keys += [key for key in named if is_checkpoint(key) or is_kept_state(key) or is_partial(key)]
                if cursor is None:
                    break
        return keys
    finally:
        copy.close()


def _copy_store(source: Path, target: Path, first: Iterable[str], copied: Copied) -> None:
    store = FileStore(target)
    for key in first:
        copied.replaced += not _copy_object(source, store, key, copied)
    if source.is_dir():
        for key in chain.from_iterable(map(FileStore(source).list, STORE_PREFIXES)):
            if store.head(key) is None:
                _copy_object(source, store, key, copied)


def _copy_object(source: Path, store: FileStore, key: str, copied: Copied) -> bool:
    """Copy one object; return False if it is gone."""
    target = store.root / key
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        shutil.copy2(source / key, target)  # with its time, by which uploaded states expire
    except FileNotFoundError:
        return False
    copied.objects += 1
    copied.bytes += target.stat().st_size
    return True


def _copy_entry(source: Path, target: Path) -> None:
    """Copy a file or a folder of the data folder, if it exists."""
    if source.is_dir():
        # without the folders .work-… and .gone-… of changes that are being made
        shutil.copytree(source, target, ignore=shutil.ignore_patterns(".*"))
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
        print(f"store {configured.store} is not copied: copy it now, with the tools of the bucket")
    if copied.replaced:
        print(f"{copied.replaced} objects of live jobs were replaced meanwhile: run `leym doctor --repair` on the copy")


if __name__ == "__main__":
    app(prog_name="leym backup")
