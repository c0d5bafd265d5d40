"""`leym doctor`: checks that job table, store, laws and broker agree, and with --repair repairs what it can.

Exit codes: 0 no faults, or all are repaired; 1 faults are left; 2 not everything could be checked.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy.exc import DBAPIError

from leym import tickets
from leym.cli.output import note
from leym.common.printable import printable
from leym.common.typed_numbers import whole
from leym.frames.stores.open import folder_of, open_store
from leym.jobs.database import Database, address_of
from leym.jobs.migrate import HEAD, SchemaError, version_of
from leym.jobs.table import JobTable
from leym.settings import Settings, settings
from workers.broker import url_of
from workers.maintenance.checkup import Check, Checkup
from workers.outages import BROKER_UNAVAILABLE

UNREACHABLE = (*BROKER_UNAVAILABLE, DBAPIError)
SOUND, UNSOUND, INCOMPLETE = 0, 1, 2  # exit codes


def examine(settings: Settings, *, repair: bool = False, deep: bool = False) -> list[Check]:
    """Make all checks, in an order in which a later check sees what an earlier one has repaired.

    Args:
        settings: Where job table, store and broker are.
        repair: Whether to repair what can be repaired.
        deep: Whether to read every object and compare its checksums.
    """
    schema = _schema(settings, repair)
    if schema.error or schema.left:
        return [schema]
    if broker := _broker(settings):
        settings = settings.model_copy(update={"redis_url": broker})
        tickets.configure(settings)
    table = JobTable(settings.database)
    try:
        folder = folder_of(settings.store)
        if folder is not None and not folder.is_dir():
            return [schema, Check("store", error=f"store {settings.store}: there is no such folder")]
        checkup = Checkup(table, open_store(settings.store), settings, repair=repair, deep=deep)
        checks = [checkup.leases, checkup.laws, checkup.starts, checkup.objects, checkup.garbage, checkup.webhooks]
        found = [schema, *(result for check in checks for result in _run(check))]
        return found + ([*_run(checkup.workers), *_run(checkup.tickets)] if broker else [_no_broker()])
    finally:
        table.close()


def code_of(checks: list[Check]) -> int:
    """Return the exit code for the results of all checks."""
    if any(check.error for check in checks):
        return INCOMPLETE
    return UNSOUND if any(check.left and not check.note for check in checks) else SOUND


def _run(check: Callable[[], list[Check]]) -> list[Check]:
    try:
        return check()
    except UNREACHABLE as error:
        return [Check(check.__name__, error=str(error).splitlines()[0])]


def _schema(settings: Settings, repair: bool) -> Check:
    """Check the version of the job table's schema without opening a JobTable, which would create or migrate it."""
    check = Check("schema", todo="--repair migrates it, as the next start of the service does")
    url = address_of(settings.database)
    file = url.database if url.get_backend_name() == "sqlite" else None
    if file is not None and not Path(file).is_file():
        check.error = f"job table {file}: there is no such file"
        return check
    try:
        database = Database(settings.database)
        try:
            with database.read() as connection:
                version = version_of(connection)
        finally:
            database.close()
        check.looked = f"version {version}; this program needs {HEAD}"
        if version is None:
            check.error = f"job table {url.render_as_string()}: the database has none"
        elif version != HEAD:
            check.add("job table", check.looked)
            if repair:
                JobTable(settings.database).close()
                check.repaired = 1
    except SchemaError as error:
        check.error = str(error)
    except UNREACHABLE as error:
        check.error = f"job table {url.render_as_string()}: {str(error).splitlines()[0]}"
    return check


def _broker(settings: Settings) -> str:
    """Return the broker's URL; empty if none is configured and the embedded one does not run."""
    if settings.redis_url:
        return settings.redis_url
    embedded = url_of(settings.data / "valkey")
    return embedded if tickets.answers(embedded) else ""


def _no_broker() -> Check:
    return Check("tickets", "not checked: no broker runs; `leym up` sends missing tickets when it starts")


def show(checks: list[Check], examples: int) -> None:
    """Print the results of all checks, with up to `examples` examples each."""
    for check in checks:
        state = "unchecked" if check.error else "ok" if not check.found else "note" if check.note else "found"
        if state == "found" and not check.left:
            state = "repaired"
        print(f"{check.name:12} {state:9} {check.error or check.looked}")
        if not check.found:
            continue
        print(f"{'':12} found {check.found}, repaired {check.repaired}, left {check.left}")
        for example in check.examples[:examples]:
            print(f"{'':12}   {printable(example)}")
        if check.left:
            print(f"{'':12} {check.todo}")


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def run(
    repair: Annotated[
        bool, typer.Option("--repair", help="repair what can be repaired; safe while the service runs")
    ] = False,
    deep: Annotated[bool, typer.Option("--deep", help="read every object and compare its checksums")] = False,
    examples: Annotated[int, typer.Option(parser=whole(0, 1000), help="examples to show per kind of damage")] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON document on stdout")] = False,
) -> None:
    """Check whether the job table, the store, the laws and the broker agree, and repair what can be repaired.

    Exit codes: 0 no faults, or all are repaired; 1 faults are left; 2 not everything could be checked.
    """
    logging.getLogger("workers").setLevel(logging.ERROR)  # the report lists the repairs
    try:
        checks = examine(settings(), repair=repair, deep=deep)
    except ValueError as error:  # a URL of an unknown kind
        note(f"leym doctor: {error}")
        raise typer.Exit(INCOMPLETE) from error
    code = code_of(checks)
    if as_json:
        shown = [asdict(c) | {"left": c.left, "examples": c.examples[:examples]} for c in checks]
        print(json.dumps({"sound": code == SOUND, "repair": repair, "deep": deep, "checks": shown}))
    else:
        show(checks, examples)
        print({SOUND: "sound", UNSOUND: "not sound: faults are left", INCOMPLETE: "not everything was checked"}[code])
    raise typer.Exit(code)


if __name__ == "__main__":
    app(prog_name="leym doctor")
