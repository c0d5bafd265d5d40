"""The part of a command line that says how carefully to judge."""

from __future__ import annotations

import argparse

from leym.common.typed_numbers import whole
from leym.contract.fidelity_plan import PLANS, Plan
from leym.contract.spec import LIMITS

LEAST, MOST = 4, 4096  # members, as for a judgement that is a job


def add_plan_options(options: argparse.ArgumentParser, default: str) -> None:
    options.add_argument("--plan", choices=PLANS, default=default)
    options.add_argument("--members", type=whole(LEAST, MOST), help="per ensemble; without it a pilot's spread decides")
    options.add_argument(
        "--grid", type=whole(*LIMITS.side), nargs=2, metavar=("H", "W"), help="cells, instead of the plan's"
    )
    options.add_argument("--steps", type=whole(1, LIMITS.steps), help="of each universe, instead of the plan's")


def chosen_plan(chosen: argparse.Namespace) -> Plan:
    """Raises ValueError for a combination that measures nothing."""
    plan = PLANS[chosen.plan]
    if chosen.members is not None:
        plan = plan.with_(members=chosen.members, pilot=0, pairs=min(plan.pairs, chosen.members))
    if chosen.grid is not None:
        plan = plan.with_(grid=tuple(chosen.grid))
    return plan if chosen.steps is None else plan.with_(steps=chosen.steps)
