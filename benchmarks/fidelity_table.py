"""Judges shipped laws, the oracle's and an NCA in every precision: `python -m benchmarks.fidelity_table`.

The precisions of a law share its baselines. Results go to a JSON file after every law, so that the command can be
stopped and started again. `--markdown` prints the table of docs/fidelity.md from that file.
"""

from __future__ import annotations

import argparse
import json
import logging
from math import nan
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Any

from benchmarks.common import make_law
from leym.contract.fidelity_plan import PLANS, Plan
from leym.engine.device import pick_device
from leym.engine.engine import Engine
from leym.fidelity.baselines import run_baselines
from leym.fidelity.ensemble import Subject
from leym.fidelity.gate import judge_against
from leym.laws.bundle import Bundle
from leym.laws.loading import load_weights
from leym.laws.registry import SHIPPED, Registry
from leym.laws.verdicts import Verdict
from leym.quantization.quantized_law import quantize_law
from tests.support.laws import FORMS, oracle

PRECISIONS = ("nf4", "int8", "bf16")


def laws(folder: Path) -> list[Bundle]:
    """Return the shipped laws, those of the oracle (named after their architecture), and an NCA that is alive."""
    return [*Registry(SHIPPED).bundles(), *(oracle(name, folder).bundle for name in FORMS), make_law("nca", folder)]


def row(verdict: Verdict, law: Bundle) -> dict[str, Any]:
    """Return the row of a verdict; bytes are those of the weights at rest."""
    weights, sixteen = load_weights(law), pick_device().operands
    sizes = {p: quantize_law(law, weights, p, sixteen).bytes_at_rest for p in (verdict.precision, "fp32")}
    metrics = {m.name: [m.effect, m.low, m.high, m.power, m.members_needed] for m in verdict.metrics}
    failed = [m.name for m in verdict.metrics if m.deciding and m.outcome == "fail"]
    undecided = [m.name for m in verdict.metrics if m.deciding and m.outcome == "inconclusive"]
    alive = not verdict.flags["baseline"]
    shown = {"law": law.name, "digest": law.digest, "precision": verdict.precision, "verdict": verdict.verdict}
    shown |= {"bytes": sizes[verdict.precision], "bytes_fp32": sizes["fp32"], "metrics": metrics, "failed": failed}
    shown |= {"undecided": undecided, "alive": alive, "reasons": verdict.reasons, "plan": verdict.plan}
    return shown | {"engine": verdict.engine, "seconds": round(verdict.seconds), "controls": verdict.controls}


def judge_all(law: Bundle, plan: Plan) -> list[dict[str, Any]]:
    """Judge every precision of a law; return a row each."""
    engine = Engine(min(plan.members, 64))
    engine.start()
    try:
        began = monotonic()
        baselines = run_baselines(engine, law, plan)
        print(f"{law.name}: baselines in {monotonic() - began:.0f} s, control {baselines.control.outcome}", flush=True)
        rows = [row(judge_against(engine, baselines, Subject(law, p, plan.gamma)), law) for p in PRECISIONS]
    finally:
        engine.stop()
    for found in rows:
        print(f"{law.name} {found['precision']}: {found['verdict']}, {found['seconds']} s", flush=True)
    return rows


def markdown(rows: list[dict[str, Any]]) -> str:
    """Return the table, one line per law and precision."""
    lines = [
        "| law | precision | bytes at rest | verdict | activity | Lyapunov exponent | fails, or (undecided) |",
        "|---|---|---|---|---|---|---|",
    ]
    for r in rows:
        why = ", ".join(r["failed"]) or ", ".join(f"({name})" for name in r["undecided"])
        why = why if r["alive"] else "; ".join(filter(None, (why, "baseline frozen")))
        share = r["bytes"] / r["bytes_fp32"]
        lines.append(
            f"| {r['law']} | {r['precision']} | {r['bytes']:,} ({share:.0%} of fp32) | {r['verdict']}"
            f" | {_effect(r, 'activity')} | {_effect(r, 'lyapunov')} | {why} |"
        )
    return "\n".join(lines)


def _effect(found: dict[str, Any], name: str) -> str:
    effect, low, high = (nan if x is None else x for x in found["metrics"].get(name, [nan] * 5)[:3])
    return f"{effect:+.1%} [{low:+.1%}, {high:+.1%}]" if effect == effect else "none"


def main() -> None:
    """Judge the laws that the file does not hold yet, or print the table."""
    options = argparse.ArgumentParser(prog="python -m benchmarks.fidelity_table", description=__doc__)
    options.add_argument("--plan", choices=PLANS, default="small")
    options.add_argument("--members", type=int, default=64, help="per ensemble")
    options.add_argument("--only", nargs="*", help="names of laws")
    options.add_argument("--file", type=Path, default=Path("benchmarks/results/fidelity_table.json"))
    options.add_argument("--markdown", action="store_true", help="print the table from the file")
    chosen = options.parse_args()
    logging.basicConfig(level=logging.WARNING)
    found: dict[str, Any] = json.loads(chosen.file.read_text()) if chosen.file.exists() else {}
    if chosen.markdown:
        print(markdown([r for rows in found["laws"].values() for r in rows]))
        return
    plan = PLANS[chosen.plan].with_(members=chosen.members, pilot=0)
    found |= {"device": pick_device().kind, "laws": found.get("laws", {})}
    with TemporaryDirectory() as folder:
        for law in laws(Path(folder)):
            if law.name in found["laws"] or (chosen.only and law.name not in chosen.only):
                continue
            found["laws"][law.name] = judge_all(law, plan)
            chosen.file.parent.mkdir(parents=True, exist_ok=True)
            chosen.file.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
