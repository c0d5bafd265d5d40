"""Judges laws in four bits as rounded, calibrated and refined, and in more bits: `python -m benchmarks.fidelity_table`.

    nearest     NF4, every weight rounded to the nearest level
    calibrated  NF4 with the codes of `gptq` (`leym laws calibrate --arms gptq`)
    refined     NF4 after `leym laws refine`
    int8, bf16  these precisions

All arms of a law share its baselines, which are fp32 of the law itself. Results go to a JSON file after every law, so
that the command can be stopped and started again. `--markdown` prints the table of docs/fidelity.md from that file.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Sequence
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
from leym.quantization.codes import write_with_codes
from leym.quantization.quantized_law import quantize_law
from leym.training.calibration import arms as calibration
from leym.training.calibration.states import check_seeds
from leym.training.refinement.training import Settings, refine
from tests.support.laws import FORMS, oracle

ARMS = ("nearest", "calibrated", "refined", "int8", "bf16")
LIVING = ("aurora", "unet", "unet_unitary", "unet_unitary_rmsnorm", "nca")  # of those below


def laws(folder: Path) -> list[Bundle]:
    """Return the shipped laws, those of the oracle (named after their architecture), and an NCA that is alive."""
    return [*Registry(SHIPPED).bundles(), *(oracle(name, folder).bundle for name in FORMS), make_law("nca", folder)]


def candidate(law: Bundle, arm: str, plan: Plan, updates: int, folder: Path) -> tuple[Bundle, str]:
    """Return the law as an arm makes it, and the precision that it runs in."""
    if arm in ("int8", "bf16"):
        return law, arm
    if arm == "nearest":
        return law, "nf4"
    if arm == "calibrated":
        how = calibration.Settings(grid=plan.grid, gamma=plan.gamma)
        codes = calibration.calibrate(law, "gptq", how)
    else:
        settings = Settings(grid=plan.grid, gamma=plan.gamma, updates=updates)
        check_seeds(settings.seeds, plan)
        codes = refine(law, "nf4", settings).codes
    return write_with_codes(law, folder / law.name / arm, "nf4", codes), "nf4"


def row(verdict: Verdict, law: Bundle, arm: str, made: Bundle) -> dict[str, Any]:
    """Return the row of a verdict on `made`, an arm of `law`; bytes are those of the weights at rest."""
    weights, sixteen = load_weights(law), pick_device().operands
    sizes = {p: quantize_law(made, weights, p, sixteen).bytes_at_rest for p in (verdict.precision, "fp32")}
    metrics = {m.name: [m.effect, m.low, m.high, m.power, m.members_needed] for m in verdict.metrics}
    failed = [m.name for m in verdict.metrics if m.deciding and m.outcome == "fail"]
    undecided = [m.name for m in verdict.metrics if m.deciding and m.outcome == "inconclusive"]
    alive = not verdict.flags["baseline"]
    shown = {"law": law.name, "digest": law.digest, "precision": verdict.precision, "verdict": verdict.verdict}
    shown |= {"arm": arm, "candidate_digest": made.digest}
    shown |= {"bytes": sizes[verdict.precision], "bytes_fp32": sizes["fp32"], "metrics": metrics, "failed": failed}
    shown |= {"undecided": undecided, "alive": alive, "reasons": verdict.reasons, "plan": verdict.plan}
    return shown | {"engine": verdict.engine, "seconds": round(verdict.seconds), "controls": verdict.controls}


def judge_all(law: Bundle, plan: Plan, arms: Sequence[str], updates: int, folder: Path) -> list[dict[str, Any]]:
    """Judge the arms of a law; return a row each."""
    made = {}
    for arm in arms:
        began = monotonic()
        made[arm] = candidate(law, arm, plan, updates, folder)
        print(f"{law.name} {arm}: made in {monotonic() - began:.0f} s", flush=True)
    engine, rows = Engine(min(plan.members, 64)), []
    engine.start()
    try:
        began = monotonic()
        baselines = run_baselines(engine, law, plan)
        print(f"{law.name}: baselines in {monotonic() - began:.0f} s, control {baselines.control.outcome}", flush=True)
        for arm, (bundle, precision) in made.items():
            verdict = judge_against(engine, baselines, Subject(bundle, precision, plan.gamma))
            rows.append(row(verdict, law, arm, bundle))
            print(f"{law.name} {arm}: {verdict.verdict}, {verdict.seconds:.0f} s, {verdict.reasons}", flush=True)
    finally:
        engine.stop()
    return rows


def markdown(rows: list[dict[str, Any]]) -> str:
    """Return the table, one line per law and arm."""
    lines = [
        "| law | arm | bytes at rest | verdict | activity | memory | Lyapunov exponent | fails, or (undecided) |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for r in rows:
        why = ", ".join(r["failed"]) or ", ".join(f"({name})" for name in r["undecided"])
        why = why if r["alive"] else "; ".join(filter(None, (why, "baseline frozen")))
        share = r["bytes"] / r["bytes_fp32"]
        effects = " | ".join(_effect(r, name) for name in ("activity", "memory_short", "lyapunov"))
        arm = r.get("arm", r["precision"])  # files from before there were arms have precisions only
        lines.append(
            f"| {r['law']} | {arm} | {r['bytes']:,} ({share:.0%} of fp32) | {r['verdict']} | {effects} | {why} |"
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
    options.add_argument("--only", nargs="*", default=LIVING, help="names of laws")
    options.add_argument("--arms", nargs="*", choices=ARMS, default=ARMS)
    options.add_argument("--updates", type=int, default=Settings.updates, help="of the refined arm")
    options.add_argument("--file", type=Path, default=Path("benchmarks/results/four_bits_table.json"))
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
            if law.name in found["laws"] or law.name not in chosen.only:
                continue
            found["laws"][law.name] = judge_all(law, plan, chosen.arms, chosen.updates, Path(folder) / "made")
            chosen.file.parent.mkdir(parents=True, exist_ok=True)
            chosen.file.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
