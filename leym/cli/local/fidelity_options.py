"""Options that choose how carefully a law is judged, shared by `fidelity run` and `laws tune-precision`."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from leym.common.typed_numbers import whole
from leym.contract.fidelity_plan import PLANS, Plan
from leym.contract.spec import LIMITS

LEAST_MEMBERS, MOST_MEMBERS = 4, 4096  # as for a judgement that is a job

PlanName = Annotated[Literal["small", "standard"], typer.Option("--plan")]
Members = Annotated[
    int | None,
    typer.Option(
        parser=whole(LEAST_MEMBERS, MOST_MEMBERS),
        help="universes per ensemble; default: as many as the spread of a pilot run asks for",
    ),
]
Grid = Annotated[
    tuple[int, int] | None,
    typer.Option(parser=whole(*LIMITS.side), metavar="H W", help="cells; default: the grid of the plan"),
]
Steps = Annotated[
    int | None,
    typer.Option(parser=whole(1, LIMITS.steps), help="steps of each universe; default: the steps of the plan"),
]


def chosen_plan(name: str, members: int | None, grid: tuple[int, int] | None, steps: int | None) -> Plan:
    """Return the plan of that name with the options that were given in place of its own.

    Raises:
        ValueError: the combination measures nothing.
    """
    plan = PLANS[name]
    if members is not None:
        plan = plan.with_(members=members, pilot=0, pairs=min(plan.pairs, members))
    if grid is not None:
        plan = plan.with_(grid=grid)
    return plan if steps is None else plan.with_(steps=steps)
