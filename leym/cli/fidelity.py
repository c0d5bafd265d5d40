"""`leym fidelity`: judge whether a law in few bits is still the same law, here or as a job of the service."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from leym.cli import specs
from leym.cli.jobs import Json, show_progress
from leym.cli.laws import Name
from leym.cli.lazy import LazyCommand, LazyGroup
from leym.cli.output import exits, note, write_json, write_table
from leym.common.files import STDOUT, write_text
from leym.common.printable import printable
from leym.contract.fidelity_words import outcome_in_words, power_in_words, regime_in_words

if TYPE_CHECKING:
    from leym.client import Client


class Fidelity(LazyGroup):
    """The command of `leym fidelity` that needs torch."""

    lazy = {
        "run": LazyCommand("leym.cli.local.fidelity", "Judge a law on this machine and keep the verdict.", ("worker",)),
    }


app = typer.Typer(cls=Fidelity, help="Judge a law in a precision, and show verdicts.", no_args_is_help=True)

PrecisionName = Annotated[str, typer.Option(help="nf4, int8 or bf16")]


@app.command()
def submit(
    context: typer.Context,
    law: Name,
    precision: PrecisionName = "nf4",
    plan: Annotated[str, typer.Option(help="small or standard")] = "small",
    members: Annotated[int | None, typer.Option(help="universes per ensemble; default: the plan's")] = None,
    steps: Annotated[int | None, typer.Option(help="steps of each universe; default: the plan's")] = None,
    grid: Annotated[str | None, typer.Option(help="cells: 64 or 64x128; default: the plan's")] = None,
    priority: Annotated[int | None, typer.Option(help="0 to 9; 9 is the most urgent; default: 2")] = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="show the progress until the job has ended")] = False,
    as_json: Json = False,
) -> None:
    """Judge a law as a job of the service; print its id, or its verdict with --watch."""
    client: Client = context.obj
    given: dict[str, Any] = {
        "precision": precision,
        "plan": plan,
        "members": members,
        "steps": steps,
        "priority": priority,
    }
    with exits(as_json):
        if grid:
            given["grid"] = specs.grid(grid)
        job = client.judge(law, **{key: value for key, value in given.items() if value is not None})
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
    precision: Annotated[str | None, typer.Option(help="nf4, int8 or bf16: show all numbers of that verdict")] = None,
    report: Annotated[
        Path | None, typer.Option(help="save the verdict on --precision as an HTML page with plots; - for stdout")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show the verdicts on a law."""
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
                ("precision", "verdict", "members", "power", "regime", "reason"), map(_row, found)
            )


def _show_one(verdict: dict[str, Any], as_json: bool) -> None:
    if as_json:
        write_json(verdict)
        return
    power = verdict.get("power")  # an earlier service tells neither this nor the regime
    print(f"{verdict['precision']}: {outcome_in_words(verdict['verdict'], power)}")
    words = power_in_words(power, verdict.get("members_needed")), regime_in_words(verdict.get("regime", {}))
    for line in filter(None, words):
        print(f"  {printable(line)}")
    for reason in verdict["reasons"]:
        print(f"  {printable(reason)}")
    columns = ("metric", "decides", "outcome", "effect", "interval")
    write_table(columns, map(_metric, verdict["metrics"]))


def _row(short: dict[str, Any]) -> tuple[Any, ...]:
    power, reason = short.get("power"), (short["reasons"] or [""])[0]  # an earlier service does not tell the power
    shown = "" if power is None else f"{power:.2f}"
    return short["precision"], short["verdict"], short["members"], shown, short.get("regime") or "", reason


def _metric(row: dict[str, Any]) -> tuple[Any, ...]:
    effect, low, high = (float("nan") if row[key] is None else row[key] for key in ("effect", "low", "high"))
    return row["name"], "yes" if row["deciding"] else "", row["outcome"], f"{effect:+.1%}", f"[{low:+.1%}, {high:+.1%}]"
