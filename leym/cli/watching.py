"""`leym fields`, `workers`, `queue`, `top` and `open`: what there is, who works, what waits, and where to look."""

from __future__ import annotations

import re
import sys
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from leym.cli import completion
from leym.cli.jobs import Json
from leym.cli.output import COLOURS, age, exits, write_json, write_table
from leym.common.printable import printable
from leym.contract.catalog import FIELDS, OBSERVABLES
from leym.contract.limits import JOB_ID

if TYPE_CHECKING:
    from leym.client import Client

RUNNING = 30  # jobs that `leym top` shows


def fields(
    context: typer.Context,
    id: Annotated[str | None, typer.Argument(metavar="[ID]", help="job id", autocompletion=completion.jobs)] = None,
    as_json: Json = False,
) -> None:
    """List the recorded fields of a job; without a job, all fields and observables with their formulas."""
    if id is None:
        _print_catalogue(as_json)
        return
    with exits(as_json):
        found = context.obj.job(id).list_fields()
    if as_json:
        write_json(found)
        return
    keys = ("name", "dtype", "shape", "units", "every", "committed")
    write_table(keys, ([_cell(field.get(key)) for key in keys] for field in found))


def workers(context: typer.Context, as_json: Json = False) -> None:
    """List the workers that are alive, with their devices and slots."""
    with exits(as_json):
        found = context.obj.workers()
    write_json(found) if as_json else write_table(WORKER, map(_worker_row, found))


def queue(context: typer.Context, as_json: Json = False) -> None:
    """Show the backlog: jobs by state, and what waits and runs of each law, precision and grid."""
    with exits(as_json):
        found = context.obj.queue()
    if as_json:
        write_json(found)
        return
    write_table(("state", "jobs"), found.get("states", {}).items())
    waits = found.get("oldest_queued_s")
    write_table(
        ("", ""),
        [
            ("cell-steps left", found.get("cell_steps")),
            ("oldest waits since", None if waits is None else f"{waits:.0f} s"),
            ("trainings waiting", found.get("trainings", {}).get("queued")),
        ],
    )
    rows = found.get("buckets") or []
    if rows:
        write_table(list(rows[0]), ([_cell(value) for value in row.values()] for row in rows), heading=True)


def top(
    context: typer.Context,
    interval: Annotated[float, typer.Option(min=0.2, help="seconds between two looks")] = 1.0,
    once: Annotated[bool, typer.Option("--once", help="look once; the default where stdout is no terminal")] = False,
    as_json: Json = False,
) -> None:
    """Show workers, queue and running jobs, again and again until Ctrl-C."""
    client: Client = context.obj
    if as_json or once or not sys.stdout.isatty():
        with exits(as_json):
            seen = _look(client)
        write_json(seen) if as_json else Console().print(_screen(seen))
        return
    try:
        with exits(as_json), Live(_screen(_look(client)), screen=True, auto_refresh=False) as live:
            while True:
                time.sleep(interval)
                live.update(_screen(_look(client)), refresh=True)
    except KeyboardInterrupt:
        return


def open_(
    context: typer.Context,
    thing: Annotated[str, typer.Argument(metavar="JOB|SWEEP|LAW", help="id or name", autocompletion=completion.things)],
    browser: Annotated[
        bool | None,
        typer.Option("--browser/--no-browser", help="open it in the browser; default: where stdout is a terminal"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Print the address of the page of a job, a sweep or a law, and open it in the browser."""
    client: Client = context.obj
    with exits(as_json):
        url = f"{client.url}/#/{_place_of(client, thing)}"
    write_json({"url": url}) if as_json else print(url)
    if browser if browser is not None else sys.stdout.isatty():
        typer.launch(url)


def _place_of(client: Client, thing: str) -> str:
    """Return the path of the page of a job, a sweep or a law. Raises ProblemError if there is no such thing."""
    from leym.client.errors import ProblemError

    if not re.fullmatch(JOB_ID, thing):
        return f"laws/{client.law(thing)['name']}"
    try:
        return f"jobs/{client.job(thing).id}"
    except ProblemError as problem:
        if problem.status != 404:
            raise
    return f"sweeps/{client.get_sweep(thing).id}"


WORKER = ("name", "kind", "state", "busy", "slots", "cell-steps/s", "device")
JOB = ("id", "state", "step", "law", "grid", "waits for", "age")


def _worker_row(worker: dict[str, Any]) -> tuple[Any, ...]:
    rate = worker.get("cell_steps_per_s")
    return (
        worker["name"], worker.get("kind"), worker.get("state"), worker.get("busy"), worker.get("slots"),
        None if rate is None else f"{rate:.3g}", str(worker.get("device", "")).partition(";")[0],
    )  # fmt: skip


def _look(client: Client) -> dict[str, Any]:
    """Return what `leym top` shows."""
    active = [job for state in ("running", "queued") for job in client.jobs(state=state, limit=RUNNING)]
    return {
        "workers": client.workers(),
        "queue": client.queue(),
        "jobs": [job.as_dict() for job in active[:RUNNING]],
    }


def _screen(seen: dict[str, Any]) -> Group:
    counts = seen["queue"].get("states", {})
    head = Text("  ".join(f"{n} {state}" for state, n in counts.items()))
    head.append(f"  {len(seen['workers'])} workers", "" if seen["workers"] else "red bold")
    return Group(
        head,
        Text(""),
        _table(WORKER, map(_worker_row, seen["workers"])),
        Text(""),
        _table(JOB, map(_job_row, seen["jobs"])),
    )


def _job_row(job: dict[str, Any]) -> tuple[Any, ...]:
    grid = "x".join(map(str, job["spec"].get("grid") or ()))
    reason = job.get("reason")
    waits = reason.get("text") if isinstance(reason, dict) else reason
    return (
        job["id"], job["state"], f"{job['step']}/{job['steps']}", str(job["law"]).partition("@")[0], grid, waits,
        age(job.get("created_at")),
    )  # fmt: skip


def _table(columns: tuple[str, ...], rows: Any) -> Table:
    table = Table(*columns, box=None, header_style="bold", padding=(0, 1, 0, 0))
    for row in rows:
        cells = [printable("-" if cell is None else str(cell)) for cell in row]
        table.add_row(*(Text(cell, COLOURS.get(cell, "")) for cell in cells))
    return table


def _print_catalogue(as_json: bool) -> None:
    if as_json:
        tables: dict[str, dict[str, Any]] = {"fields": dict(FIELDS), "observables": dict(OBSERVABLES)}
        write_json(
            {
                kind: {name: {"units": info.units, "formula": info.formula} for name, info in table.items()}
                for kind, table in tables.items()
            }
        )
        return
    rows = [(name, "field", info.units, info.formula) for name, info in FIELDS.items()]
    rows += [(name, "observable", info.units, info.formula) for name, info in OBSERVABLES.items()]
    write_table(("name", "kind", "units", "formula"), rows)


def _cell(value: Any) -> Any:
    return "x".join(map(str, value)) if isinstance(value, list) else value


def register(app: typer.Typer) -> None:
    """Add these commands to the application."""
    for command in (fields, workers, queue, top):
        app.command()(command)
    app.command("open")(open_)
