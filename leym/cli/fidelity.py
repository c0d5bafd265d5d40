"""fidelity: whether a law in few bits is still the law; judge it here or as a job of the service."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from leym.cli import specs
from leym.cli.become import PASS_ON, become
from leym.cli.jobs import Json, show_progress
from leym.cli.laws import Name
from leym.cli.output import exits, note, write_json, write_table
from leym.client import Client
from leym.common.files import STDOUT, write_text
from leym.common.printable import printable

app = typer.Typer(help="Judge a precision of a law; show its verdicts.", no_args_is_help=True)

PrecisionName = Annotated[str, typer.Option(help="nf4, int8 or bf16")]


@app.command(context_settings=PASS_ON, add_help_option=False)
def run(context: typer.Context) -> None:
    """Judge on this machine (needs torch) and keep the verdict; has a --help of its own."""
    become("leym.cli.local.fidelity", context.args, "worker")


@app.command()
def submit(
    context: typer.Context,
    law: Name,
    precision: PrecisionName = "nf4",
    plan: Annotated[str, typer.Option(help="small or standard")] = "small",
    members: Annotated[int | None, typer.Option(help="universes per ensemble; default: the plan's")] = None,
    steps: Annotated[int | None, typer.Option(help="of each universe; default: the plan's")] = None,
    grid: Annotated[str | None, typer.Option(help="cells: 64 or 64x128; default: the plan's")] = None,
    priority: Annotated[int | None, typer.Option(help="0 to 9, 9 the most urgent [2]")] = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="show progress until it has ended")] = False,
    as_json: Json = False,
) -> None:
    """Judge as a job of the service; print its id, or with --watch its verdict."""
    client: Client = context.obj
    given: dict[str, Any] = {"plan": plan, "members": members, "steps": steps, "priority": priority}
    with exits(as_json):
        if grid:
            given["grid"] = specs.grid(grid)
        job = client.judge(law, precision, **{key: value for key, value in given.items() if value is not None})
        if not watch:
            write_json(job.as_dict()) if as_json else print(job.id)
            return
        show_progress([job], None, as_json)
        if not as_json:
            print(job.as_dict()["verdict"])


@app.command()
def show(
    context: typer.Context,
    law: Name,
    precision: Annotated[str | None, typer.Option(help="nf4, int8 or bf16: all numbers of that verdict")] = None,
    report: Annotated[
        Path | None, typer.Option(help="save the verdict on --precision as a page with plots; - is stdout")
    ] = None,
    as_json: Json = False,
) -> None:
    """The verdicts on a law."""
    client: Client = context.obj
    with exits(as_json):
        if report is not None:
            write_text(report, client.report(law, precision or "nf4"))
            note("saved" if report == STDOUT else f"saved {report}")
        elif precision is not None:
            _show_one(client.verdict(law, precision), as_json)
        else:
            found = client.fidelity(law)
            write_json(found) if as_json else write_table(
                ("precision", "verdict", "members", "reason"), map(_row, found)
            )


def _show_one(verdict: dict[str, Any], as_json: bool) -> None:
    if as_json:
        write_json(verdict)
        return
    print(f"{verdict['precision']}: {verdict['verdict']}")
    for reason in verdict["reasons"]:
        print(f"  {printable(reason)}")
    columns = ("metric", "decides", "outcome", "effect", "interval")
    write_table(columns, map(_metric, verdict["metrics"]))


def _row(short: dict[str, Any]) -> tuple[Any, ...]:
    return short["precision"], short["verdict"], short["members"], (short["reasons"] or [""])[0]


def _metric(row: dict[str, Any]) -> tuple[Any, ...]:
    effect, low, high = (float("nan") if row[key] is None else row[key] for key in ("effect", "low", "high"))
    return row["name"], "yes" if row["deciding"] else "", row["outcome"], f"{effect:+.1%}", f"[{low:+.1%}, {high:+.1%}]"
