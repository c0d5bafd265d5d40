"""`leym laws tune-precision LAW`: find the weights that need more bits, and keep the smallest law that passes."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path
from typing import Annotated, Literal

import typer

from leym.cli.local.fidelity_options import Grid, Members, PlanName, Steps, chosen_plan
from leym.cli.output import FAILED, USAGE, note
from leym.common.outputs import write_text
from leym.contract.problems import Problem
from leym.fidelity import search_report
from leym.fidelity.search import keep, search_precision
from leym.laws.bundle import NAME, Bundle
from leym.laws.registry import SHIPPED, Registry
from leym.settings import settings

app = typer.Typer(add_completion=False)


@app.command()
def tune_precision(
    law: Annotated[str, typer.Argument(help="name or name@digest")],
    precision: Annotated[Literal["nf4", "int8"], typer.Option()] = "nf4",
    plan: PlanName = "small",
    members: Members = None,
    grid: Grid = None,
    steps: Steps = None,
    name: Annotated[
        str | None, typer.Option(help="name of the law that is kept; default: a further version of the same name")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="save the search as an HTML page with plots")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON document on stdout")] = False,
    data: Annotated[Path | None, typer.Option(help="data folder; default: LEYM_DATA")] = None,
) -> None:
    """Find the weights that need more bits, and keep the smallest law that passes its gate.

    Exit codes: 0 a law passes and is kept, 1 none passes and nothing is written, 2 refused.
    """
    logging.basicConfig(level=logging.WARNING)
    folder = data or settings().data
    try:
        chosen = chosen_plan(plan, members, grid, steps)
        if name is not None and not re.match(NAME, name):
            raise ValueError(f"name = {name!r}: it must match {NAME}")
        if report is not None and not report.parent.is_dir():
            raise ValueError(f"report = {str(report)!r}: there is no folder {str(report.parent)!r}")
        bundle = Registry(SHIPPED, folder / "laws").resolve(law)
        found = search_precision(bundle, precision, chosen, on_progress=note)
    except (Problem, ValueError) as error:
        note(f"leym laws tune-precision: {error}")
        raise typer.Exit(USAGE) from error
    if report is not None:
        write_text(report, search_report.html(found))
    kept = keep(found, folder, name) if found.passed else None
    if as_json:
        print(json.dumps(search_report.as_json(found) | {"kept": kept.ref if kept else None}, allow_nan=False))
    else:
        print(search_report.text(found))
        print(_outcome(bundle, kept))
    if kept is None:
        raise typer.Exit(FAILED)


def _outcome(law: Bundle, kept: Bundle | None) -> str:
    if kept is None:
        return "nothing is written"
    return f"the verdict is kept with {kept.ref}" if kept.digest == law.digest else f"kept: {kept.ref}"
