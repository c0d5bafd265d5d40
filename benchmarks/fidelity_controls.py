"""Measures if the gate passes what it must pass and refuses what it must: `python -m benchmarks.fidelity_controls`.

It judges the law against itself, on other seeds, in 100 independent draws of the whole procedure; then copies damaged
on purpose, to find the smallest share of zeroed weights that is detected. The law is cheap and chaotic,
`tests.support.laws.lively_law`.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Any

from leym.contract.fidelity_plan import PLANS, Plan
from leym.engine.device import pick_device
from leym.engine.engine import Engine
from leym.fidelity.baselines import run_baselines
from leym.fidelity.controls import in_two_bits, zeroed
from leym.fidelity.ensemble import Subject
from leym.fidelity.gate import judge_against
from leym.laws.bundle import Bundle
from tests.support.laws import lively_law

PLAN = PLANS["small"].with_(grid=(16, 16), members=32, pilot=0, steps=600, damage=0.0, rounds=44)
SHARES = (0.001, 0.003, 0.01, 0.03, 0.1)  # of weights set to zero
FIRST_SEED, SEEDS_PER_DRAW = 10_000_000, 1000


def against_itself(engine: Engine, law: Bundle, draws: range) -> dict[str, Any]:
    """Count the outcomes of the law against itself, and their reasons."""
    outcomes: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    for i in draws:
        plan = PLAN.with_(seed=FIRST_SEED + SEEDS_PER_DRAW * i)
        verdict = judge_against(engine, run_baselines(engine, law, plan), Subject(law, "fp32", plan.gamma))
        outcomes[verdict.verdict] += 1
        reasons.update(": ".join(reason.split(": ")[:2]) for reason in verdict.reasons)
        if (i + 1) % 10 == 0:
            print(f"{i + 1} draws: {dict(outcomes)}", flush=True)
    return {"draws": [draws.start, draws.stop], "outcomes": dict(outcomes), "reasons": dict(reasons)}


def damages(engine: Engine, law: Bundle, plan: Plan, folder: Path) -> dict[str, Any]:
    """Judge damaged copies; return their verdicts with the first reasons."""
    baselines = run_baselines(engine, law, plan)
    subjects = {f"{share:.1%} of weights zeroed": zeroed(law, share, folder / f"z{share}") for share in SHARES}
    candidates = {name: Subject(copy, "fp32", plan.gamma) for name, copy in subjects.items()}
    candidates["2-bit weights"] = Subject(in_two_bits(law, folder / "two-bits"), "fp32", plan.gamma)
    candidates["gamma 0.3"] = Subject(law, "fp32", 0.3)
    candidates |= {precision: Subject(law, precision, plan.gamma) for precision in ("nf4", "int8", "bf16")}
    found = {}
    for name, candidate in candidates.items():
        verdict = judge_against(engine, baselines, candidate)
        found[name] = {"verdict": verdict.verdict, "activity": verdict.metric("activity").effect}
        found[name] |= {"reasons": verdict.reasons[:3]}
        print(f"{name}: {verdict.verdict}: {'; '.join(verdict.reasons[:2])}", flush=True)
    return found


def main() -> None:
    """Run both parts and write the results to a JSON file."""
    options = argparse.ArgumentParser(prog="python -m benchmarks.fidelity_controls", description=__doc__)
    options.add_argument("--draws", type=int, nargs=2, default=(0, 100), metavar=("FIRST", "END"))
    options.add_argument("--file", type=Path, default=Path("benchmarks/results/fidelity_controls.json"))
    chosen = options.parse_args()
    logging.basicConfig(level=logging.WARNING)
    began = monotonic()
    with TemporaryDirectory() as folder:
        law = lively_law(Path(folder))
        engine = Engine(PLAN.members)
        engine.start()
        found = {"device": pick_device().kind, "damages": damages(engine, law, PLAN, Path(folder))}
        found["itself"] = against_itself(engine, law, range(*chosen.draws))
        engine.stop()
    found["seconds"] = round(monotonic() - began)
    chosen.file.parent.mkdir(parents=True, exist_ok=True)
    chosen.file.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found["itself"]))


if __name__ == "__main__":
    main()
