"""`leym laws calibrate LAW`: choose better four-bit codes for a law, judge them, and keep the law that passes."""

from __future__ import annotations

import json
import logging
from typing import Annotated, Literal

import typer

from leym.cli.local.fidelity_options import Grid, Members, PlanName, Steps, chosen_plan
from leym.cli.local.new_version import Data, Law, NewName, check_name, data_folder, find_law, keep_version
from leym.cli.output import FAILED, USAGE, note
from leym.common.typed_numbers import whole
from leym.contract.problems import Problem
from leym.training.calibration.arms import ARMS, Settings
from leym.training.calibration.candidates import Calibrated, choose_codes, search_codes, write
from leym.training.calibration.states import SEED

app = typer.Typer(add_completion=False)

UNJUDGED_ARM = "matched"


@app.command()
def run(
    context: typer.Context,
    law: Law,
    precision: Annotated[Literal["nf4"], typer.Option()] = "nf4",
    arms: Annotated[str, typer.Option(help=f"arms to compare, cheapest first; known: {', '.join(ARMS)}")] = ",".join(
        list(ARMS)[1:]
    ),
    plan: PlanName = "small",
    members: Members = None,
    grid: Grid = None,
    steps: Steps = None,
    seed: Annotated[int, typer.Option(parser=whole(0, 2**62), help="of the first calibration universe")] = SEED,
    universes: Annotated[int, typer.Option(min=1, help="to calibrate on, per draw")] = Settings.members,
    draws: Annotated[
        int, typer.Option(min=1, help="times that each arm makes codes, from other universes; the best are kept")
    ] = Settings.draws,
    fit_rounds: Annotated[
        int, typer.Option(min=0, help="rounds that fit gains of the codes to the statistics of fp32")
    ] = Settings.fit_rounds,
    measured: Annotated[
        int, typer.Option(min=2, help="universes that measure each draw of several, and each gain")
    ] = Settings.measured,
    judge: Annotated[bool, typer.Option("--judge/--no-judge", help="without: one arm, matched by default")] = True,
    keep_best: Annotated[
        bool, typer.Option("--keep-best", help="if no arm passes, write the best one with its verdict")
    ] = False,
    name: NewName = None,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON document on stdout")] = False,
    data: Data = None,
) -> None:
    """Choose better four-bit codes for a law without training it, judge them, and keep the law that passes.

    The last line is NAME@DIGEST. Exit codes: 0 a law is kept, 1 no arm passes and nothing is written, 2 refused.
    """
    logging.basicConfig(level=logging.WARNING)
    folder = data_folder(data)
    try:
        check_name(name)
        chosen_arms = [arm.strip() for arm in arms.split(",") if arm.strip()]
        chosen = chosen_plan(plan, members, grid, steps)
        bundle = find_law(law, folder)
        how = Settings(
            chosen.grid,
            chosen.gamma,
            members=universes,
            seed=seed,
            draws=draws,
            fit_rounds=fit_rounds,
            measured=measured,
        )
        if judge:
            result = search_codes(bundle, chosen_arms, chosen, how, on_progress=note)
            arm = result.best.arm if result.best and (result.passed or keep_best) else None
        else:
            arm = chosen_arms[0] if len(chosen_arms) == 1 else UNJUDGED_ARM
            result = choose_codes(bundle, [arm], chosen, how, on_progress=note)
    except (Problem, ValueError) as error:
        note(f"leym laws calibrate: {error}")
        raise typer.Exit(USAGE) from error
    kept = None
    if arm:
        kept = keep_version(context, lambda to, where: write(result, arm, to, name=name, data=where), folder, as_json)
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
