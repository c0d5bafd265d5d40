"""`leym laws refine LAW`: train the four-bit weights of a law towards its fp32 form, judge them, keep what passes."""

from __future__ import annotations

import json
import logging
from typing import Annotated, Literal

import typer

from leym.cli.local.fidelity_options import Grid, Members, PlanName, Steps, chosen_plan
from leym.cli.local.new_version import Data, Law, NewName, check_name, data_folder, find_law, keep_version
from leym.cli.output import FAILED, USAGE, note
from leym.client.progress import Amount, Bars
from leym.common.typed_numbers import whole
from leym.contract.problems import Problem
from leym.training.calibration.arms import ARMS
from leym.training.calibration.states import check_seeds
from leym.training.refinement.refined import Candidate, judge, refined, write
from leym.training.refinement.training import SEED, Settings

app = typer.Typer(add_completion=False)


@app.command()
def run(
    context: typer.Context,
    law: Law,
    precision: Annotated[Literal["nf4"], typer.Option()] = "nf4",
    updates: Annotated[int, typer.Option(min=0, help="of the weights; 0: only those of `start`")] = Settings.updates,
    start: Annotated[
        str, typer.Option(help=f"arm of calibration whose codes are refined; known: {', '.join(ARMS)}")
    ] = Settings.start,
    draws: Annotated[
        int, typer.Option(min=1, help="times to do all this from other universes; the best is kept")
    ] = Settings.draws,
    fit_rounds: Annotated[
        int, typer.Option(min=0, help="rounds that fit gains of the codes to the statistics of fp32")
    ] = Settings.fit_rounds,
    measured: Annotated[
        int, typer.Option(min=2, help="universes that measure each draw of several, and each gain")
    ] = Settings.measured,
    rate: Annotated[float, typer.Option(help="learning rate of the updates at the start")] = Settings.rate,
    distil: Annotated[
        int, typer.Option(min=0, help="cheap updates before those, by the errors of two steps; for small networks")
    ] = Settings.distil,
    distil_rate: Annotated[float, typer.Option(help="their learning rate at the start")] = Settings.distil_rate,
    plan: PlanName = "small",
    members: Members = None,
    grid: Grid = None,
    steps: Steps = None,
    seed: Annotated[int, typer.Option(parser=whole(0, 2**62), help="of the first universe, and of all draws")] = SEED,
    judged: Annotated[bool, typer.Option("--judge/--no-judge", help="without: write the law unjudged")] = True,
    keep: Annotated[
        bool, typer.Option("--keep", help="write the law with its verdict even if it does not pass")
    ] = False,
    name: NewName = None,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON document on stdout")] = False,
    data: Data = None,
) -> None:
    """Train the four-bit weights of a law towards its fp32 form, judge them, and keep them if they pass.

    The last line is NAME@DIGEST. Exit codes: 0 a law is kept, 1 it does not pass and nothing is written, 2 refused.
    """
    logging.basicConfig(level=logging.WARNING)
    folder = data_folder(data)
    try:
        check_name(name)
        chosen = chosen_plan(plan, members, grid, steps)
        bundle = find_law(law, folder)
        how = Settings(
            grid=chosen.grid,
            gamma=chosen.gamma,
            seed=seed,
            start=start,
            updates=updates,
            draws=draws,
            fit_rounds=fit_rounds,
            measured=measured,
            rate=rate,
            distil=distil,
            distil_rate=distil_rate,
        )
        check_seeds(how.used_seeds, chosen)
        with Bars() as bars:

            def show(number: int, parts: dict[str, float]) -> None:
                text = f"loss {parts['loss']:.4g}" if bars.console.is_terminal else "running"
                bars.show(Amount(bundle.name, text, number, draws * (distil + updates)))

            candidate = refined(bundle, precision, how, chosen, on_update=show, on_progress=note)
        if judged:
            candidate = judge(candidate, chosen, on_progress=note)
    except (Problem, ValueError) as error:
        note(f"leym laws refine: {error}")
        raise typer.Exit(USAGE) from error
    kept = None
    if candidate.passed or keep or not judged:
        kept = keep_version(context, lambda to, where: write(candidate, to, name=name, data=where), folder, as_json)
    if as_json:
        verdict = candidate.verdict.verdict if candidate.verdict else None
        print(json.dumps({"kept": kept, "verdict": verdict, "against": bundle.ref, **candidate.provenance()}))
    else:
        print(report(candidate))
        print(kept or f"{bundle.ref} refined does not pass: nothing is written (--keep writes it)")
    if kept is None:
        raise typer.Exit(FAILED)


def report(candidate: Candidate) -> str:
    """Return the verdict with the fp32 law that it is against, and the effect on every deciding metric."""
    if (verdict := candidate.verdict) is None:
        return f"{candidate.law.ref}: refined by {candidate.settings.updates} updates, not judged"
    lines = [f"{verdict.verdict}, against fp32 of the parent {candidate.law.ref}", *verdict.reasons]
    lines += [
        f"{row.name:<22}{row.outcome:<14}{row.effect:>+8.1%}  [{row.low:+.1%}, {row.high:+.1%}]  power {row.power:.2f}"
        for row in verdict.metrics
        if row.deciding
    ]
    return "\n".join(lines)
