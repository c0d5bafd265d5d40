"""`leym fidelity run LAW --precision nf4`: judge a law on this machine, keep the verdict, and say it."""

from __future__ import annotations

import argparse
import json
import logging
import sys

from leym.cli.local.fidelity_options import add_plan_options, chosen_plan
from leym.contract.problems import Problem
from leym.fidelity.gate import judge
from leym.laws.registry import default_registry
from leym.laws.verdicts import CHEAPEST_FIRST, Verdict, write_verdict


def show(verdict: Verdict) -> None:
    """The table and the reasons, on standard output."""
    print(f"{verdict.law['name']}@{verdict.law['digest'][:12]} in {verdict.precision}: {verdict.verdict}")
    for reason in verdict.reasons:
        print(f"  {reason}")
    print(f"\n{'metric':<24}{'decides':<9}{'outcome':<14}{'effect':>9}{'interval':>22}{'power':>7}")
    for row in verdict.metrics:
        interval = f"[{row.low:+.1%}, {row.high:+.1%}]"
        decides = "yes" if row.deciding else ""
        print(f"{row.name:<24}{decides:<9}{row.outcome:<14}{row.effect:>+9.1%}{interval:>22}{row.power:>7.0%}")
    print(f"\n{verdict.plan['members']} members per ensemble, {verdict.seconds:.0f} s")


def main() -> None:
    options = argparse.ArgumentParser(prog="leym fidelity run", description=__doc__)
    options.add_argument("law", help="name or name@digest")
    options.add_argument("--precision", choices=CHEAPEST_FIRST, default="nf4")
    add_plan_options(options, "standard")
    options.add_argument("--json", action="store_true", help="the whole verdict as one JSON document")
    chosen = options.parse_args()
    logging.basicConfig(level=logging.WARNING)
    try:
        plan = chosen_plan(chosen)
        bundle = default_registry().resolve(chosen.law)
        verdict = judge(bundle, chosen.precision, plan)
        place = write_verdict(bundle, verdict)
    except (Problem, ValueError) as error:
        sys.exit(f"leym fidelity run: {error}")
    if chosen.json:
        print(json.dumps(json.loads(verdict.to_json())))
    else:
        show(verdict)
        print(f"kept in {place}")


if __name__ == "__main__":
    main()
