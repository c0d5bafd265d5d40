"""`leym laws calibrate LAW`: choose better four-bit codes for a law, judge them, and keep the law that passes."""

from __future__ import annotations

import json
import logging
import os
import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Literal

import typer

from leym.cli.local.fidelity_options import Grid, Members, PlanName, Steps, chosen_plan
from leym.cli.output import FAILED, USAGE, exits, note
from leym.common.typed_numbers import whole
from leym.contract.problems import Problem
from leym.laws.bundle import NAME, Bundle, read_bundle
from leym.laws.registry import SHIPPED, Registry
from leym.settings import settings
from leym.training.calibration.arms import ARMS, Settings, calibrate
from leym.training.calibration.candidates import Calibrated, keep, search_codes, write
from leym.training.calibration.states import SEED

app = typer.Typer(add_completion=False)

UNJUDGED_ARM = "gptq"


@app.command()
def run(
    context: typer.Context,
    law: Annotated[str, typer.Argument(help="name or name@digest, or the folder of a bundle")],
    precision: Annotated[Literal["nf4"], typer.Option()] = "nf4",
    arms: Annotated[str, typer.Option(help=f"arms to compare, cheapest first; known: {', '.join(ARMS)}")] = ",".join(
        list(ARMS)[1:]
    ),
    plan: PlanName = "small",
    members: Members = None,
    grid: Grid = None,
    steps: Steps = None,
    seed: Annotated[int, typer.Option(parser=whole(0, 2**62), help="of the first calibration universe")] = SEED,
    judge: Annotated[bool, typer.Option("--judge/--no-judge", help="without: one arm, gptq by default")] = True,
    keep_best: Annotated[
        bool, typer.Option("--keep-best", help="if no arm passes, write the best one with its verdict")
    ] = False,
    name: Annotated[
        str | None, typer.Option(help="name of the law that is kept; default: a further version of the same name")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON document on stdout")] = False,
    data: Annotated[
        Path | None,
        typer.Option(help="data folder of a service on this machine; default: LEYM_DATA if it is set, else an upload"),
    ] = None,
) -> None:
    """Choose better four-bit codes for a law without training it, judge them, and keep the law that passes.

    The last line is NAME@DIGEST. Exit codes: 0 a law is kept, 1 no arm passes and nothing is written, 2 refused.
    """
    logging.basicConfig(level=logging.WARNING)
    folder = data or (settings().data if os.environ.get("LEYM_DATA") else None)
    try:
        if name is not None and not re.match(NAME, name):
            raise ValueError(f"name = {name!r}: it must match {NAME}")
        chosen_arms = [arm.strip() for arm in arms.split(",") if arm.strip()]
        chosen = chosen_plan(plan, members, grid, steps)
        bundle = _find(law, folder)
        how = Settings(grid=chosen.grid, gamma=chosen.gamma, seed=seed)
        if judge:
            result = search_codes(bundle, chosen_arms, chosen, how, on_progress=note)
            arm = result.best.arm if result.best and (result.passed or keep_best) else None
        else:
            arm = chosen_arms[0] if len(chosen_arms) == 1 else UNJUDGED_ARM
            result = Calibrated(bundle, how, codes={arm: calibrate(bundle, arm, how)})
    except (Problem, ValueError) as error:
        note(f"leym laws calibrate: {error}")
        raise typer.Exit(USAGE) from error
    kept = _keep(context, result, arm, folder, name, as_json) if arm else None
    if as_json:
        print(json.dumps({"kept": kept, "arm": arm, "candidates": [one.as_json() for one in result.judged]}))
    else:
        print(table(result))
        print(kept or f"no arm of {bundle.ref} passes: nothing is written (--keep-best writes the best one)")
    if kept is None:
        raise typer.Exit(FAILED)


def table(result: Calibrated) -> str:
    """Return a line per judgement with its worst metric, and the reasons of the furthest ones."""
    lines = [f"{'arm':<10}{'by':<8}{'members':>8}  {'verdict':<14}{'worst metric':<22}{'effect':>9}"]
    for one in result.judged:
        metric, effect = one.worst
        lines.append(
            f"{one.arm:<10}{one.stage:<8}{one.members:>8}  {one.verdict.verdict:<14}{metric:<22}{effect:>+9.1%}"
        )
        lines += [f"{'':<10}{reason}" for reason in one.verdict.reasons]
    lines += [f"{arm:<10}left out: {why}" for arm, why in result.left_out.items()]
    lines += [f"no candidate could pass: {reason}" for reason in result.why_not]
    return "\n".join(lines if result.judged else [f"{', '.join(result.codes)}: codes made, not judged"])


def _find(law: str, folder: Path | None) -> Bundle:
    """Return the bundle in a folder, or the law of that name."""
    if (Path(law) / "manifest.json").is_file():
        return read_bundle(Path(law))
    return Registry(SHIPPED, *([folder / "laws"] if folder else [])).resolve(law)


def _keep(
    context: typer.Context, result: Calibrated, arm: str, folder: Path | None, name: str | None, as_json: bool
) -> str:
    """Store the law in the data folder, or upload it, and return its reference."""
    if folder is not None:
        return keep(result, arm, folder, name=name).ref
    with TemporaryDirectory() as work, exits(as_json):
        made = write(result, arm, Path(work) / "law", name=name)
        stored: dict[str, Any] = context.obj.add_law(made.path)
        note("uploaded; a service judges for itself: leym fidelity submit " + made.name)
    return str(stored["ref"])
