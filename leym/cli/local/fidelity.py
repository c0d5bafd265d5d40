"""`leym fidelity run LAW --precision nf4`: judge a law on this machine, keep the verdict and print it."""

from __future__ import annotations

import json
import logging
from typing import Annotated, Literal

import typer

from leym.cli.local.fidelity_options import Grid, Members, PlanName, Steps, chosen_plan
from leym.cli.output import FAILED, note
from leym.contract.fidelity_words import outcome_in_words, power_in_words, regime_in_words
from leym.contract.problems import Problem
from leym.fidelity.gate import judge
from leym.laws.registry import default_registry
from leym.laws.verdicts import Verdict, write_verdict

app = typer.Typer(add_completion=False)


@app.command()
def run(
    law: Annotated[str, typer.Argument(help="name or name@digest")],
    precision: Annotated[Literal["nf4", "int8", "bf16"], typer.Option()] = "nf4",
    plan: PlanName = "standard",
    members: Members = None,
    grid: Grid = None,
    steps: Steps = None,
    as_json: Annotated[bool, typer.Option("--json", help="the whole verdict as one JSON document")] = False,
) -> None:
    """Judge a precision of a law on this machine, and keep and print the verdict."""
    logging.basicConfig(level=logging.WARNING)
    try:
        chosen = chosen_plan(plan, members, grid, steps)
        bundle = default_registry().resolve(law)
        verdict = judge(bundle, precision, chosen)
        place = write_verdict(bundle, verdict)
    except (Problem, ValueError) as error:
        note(f"leym fidelity run: {error}")
        raise typer.Exit(FAILED) from error
    if as_json:
        print(json.dumps(json.loads(verdict.to_json())))
    else:
        show(verdict)
        print(f"kept in {place}")


def show(verdict: Verdict) -> None:
    """Print the reasons and the table of metrics."""
    outcome = outcome_in_words(verdict.verdict, verdict.power)
    print(f"{verdict.law['name']}@{verdict.law['digest'][:12]} in {verdict.precision}: {outcome}")
    words = power_in_words(verdict.power, verdict.members_needed), regime_in_words(verdict.regime)
    for line in filter(None, words):
        print(f"  {line}")
    for reason in verdict.reasons:
        print(f"  {reason}")
    print(f"\n{'metric':<24}{'decides':<9}{'outcome':<14}{'effect':>9}{'interval':>22}{'power':>7}")
    for row in verdict.metrics:
        interval = f"[{row.low:+.1%}, {row.high:+.1%}]"
        decides = "yes" if row.deciding else ""
        print(f"{row.name:<24}{decides:<9}{row.outcome:<14}{row.effect:>+9.1%}{interval:>22}{row.power:>7.0%}")
    print(f"\n{verdict.plan['members']} members per ensemble, {verdict.seconds:.0f} s")
