"""Judges shipped laws, the oracle's and an NCA in every precision: `python -m benchmarks.fidelity_table`.

`--laws NAME...` judges laws of the data folder instead. A version with own codes of a precision gets two rows: its own
codes, and what nearest rounding makes of its fp32 weights. All rows of a law share its baselines, which are fp32 of the
law itself. Results go to a JSON file after every law, so that the command can be stopped and started again.
`--markdown` prints the table of docs/fidelity.md from that file.

`--arms nearest calibrated refined int8 bf16` makes four-bit codes of every law on the spot, and judges these rows:

    nearest     NF4, every weight rounded to the nearest level
    calibrated  NF4 with the codes of `leym laws calibrate --arms ARM`
    refined     NF4 after `leym laws refine`
    int8, bf16  these precisions
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
from leym.contract.fidelity_words import outcome_in_words
from leym.engine.device import pick_device
from leym.engine.engine import Engine
from leym.fidelity.baselines import run_baselines
from leym.fidelity.ensemble import Subject
from leym.fidelity.gate import judge_against
from leym.laws.bundle import Bundle
from leym.laws.loading import load_weights
from leym.laws.registry import SHIPPED, Registry, default_registry
from leym.laws.variants import write_variant
from leym.laws.verdicts import Verdict
from leym.quantization.quantized_law import quantize_law
from leym.training.calibration import arms as calibration
from leym.training.calibration.candidates import choose_codes
from leym.training.calibration.candidates import write as write_calibrated
from leym.training.calibration.states import check_seeds
from leym.training.refinement.refined import refined, write
from leym.training.refinement.training import Settings
from tests.support.laws import FORMS, oracle

PRECISIONS = ("nf4", "int8", "bf16")
MADE = ("nearest", "calibrated", "refined", "int8", "bf16")


def laws(folder: Path) -> list[Bundle]:
    """Return the shipped laws, those of the oracle (named after their architecture), and an NCA that is alive."""
    return [*Registry(SHIPPED).bundles(), *(oracle(name, folder).bundle for name in FORMS), make_law("nca", folder)]


def arms(law: Bundle, plan: Plan, folder: Path) -> dict[str, Subject]:
    """Return the candidates of a law by the name of their row; copies without own codes are written to `folder`."""
    found = {}
    for precision in PRECISIONS:
        if precision not in law.manifest.codes:
            found[precision] = Subject(law, precision, plan.gamma)
            continue
        found[f"{precision}, own codes"] = Subject(law, precision, plan.gamma)
        policy = dict(law.manifest.policy.get(precision, {}))
        nearest = write_variant(law, folder / f"{law.name}-{precision}", precision, policy)
        found[f"{precision}, nearest"] = Subject(nearest, precision, plan.gamma)
    return found


def made(law: Bundle, names: Sequence[str], how: Settings, arm: str, plan: Plan, folder: Path) -> dict[str, Subject]:
    """Return the law as each of these makes it; copies with codes are written to `folder`."""
    found = {}
    for name in names:
        began = monotonic()
        precision = name if name in PRECISIONS else "nf4"
        one, target = law, folder / f"{law.name}-{name}"
        if name == "calibrated":
            codes = choose_codes(law, [arm], plan, calibration_of(how), on_progress=print)
            one = write_calibrated(codes, arm, target)
        elif name == "refined":
            check_seeds(how.used_seeds, plan)
            one = write(refined(law, "nf4", how, plan, on_progress=print), target)
        if one is not law:
            print(f"{law.name} {name}: made in {monotonic() - began:.0f} s", flush=True)
        found[name] = Subject(one, precision, plan.gamma)
    return found


def row(arm: str, verdict: Verdict, law: Bundle) -> dict[str, Any]:
    """Return the row of a verdict; bytes are those of the weights at rest of the law that was judged."""
    weights, sixteen = load_weights(law), pick_device().operands
    sizes = {p: quantize_law(law, weights, p, sixteen).bytes_at_rest for p in (verdict.precision, "fp32")}
    metrics = {m.name: [m.effect, m.low, m.high, m.power, m.members_needed] for m in verdict.metrics}
    failed = [m.name for m in verdict.metrics if m.deciding and m.outcome == "fail"]
    undecided = [m.name for m in verdict.metrics if m.deciding and m.outcome == "inconclusive"]
    alive = not verdict.flags["baseline"]
    shown = {"law": law.name, "digest": law.digest, "precision": verdict.precision, "verdict": verdict.verdict}
    shown |= {"arm": arm, "power": verdict.power, "members_needed": verdict.members_needed, "regime": verdict.regime}
    shown |= {"bytes": sizes[verdict.precision], "bytes_fp32": sizes["fp32"], "metrics": metrics, "failed": failed}
    shown |= {"undecided": undecided, "alive": alive, "reasons": verdict.reasons, "plan": verdict.plan}
    return shown | {"engine": verdict.engine, "seconds": round(verdict.seconds), "controls": verdict.controls}


def judge_all(law: Bundle, plan: Plan, subjects: dict[str, Subject]) -> list[dict[str, Any]]:
    """Judge every arm of a law; return a row each."""
    engine = Engine(min(plan.members, 64))
    engine.start()
    try:
        began = monotonic()
        baselines = run_baselines(engine, law, plan)
        print(f"{law.name}: baselines in {monotonic() - began:.0f} s, control {baselines.control.outcome}", flush=True)
        rows = [
            row(arm, judge_against(engine, baselines, one), one.law) | {"law": law.name}
            for arm, one in subjects.items()
        ]
    finally:
        engine.stop()
    for found in rows:
        print(f"{law.name} {found['arm']}: {found['verdict']}, {found['seconds']} s", flush=True)
    return rows


def markdown(rows: list[dict[str, Any]]) -> str:
    """Return the table, one line per law and precision."""
    lines = [
        "| law | precision | bytes at rest | verdict | activity | Lyapunov exponent | memory | fails, or (undecided) |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for r in rows:
        why = ", ".join(r["failed"]) or ", ".join(f"({name})" for name in r["undecided"])
        why = why if r["alive"] else "; ".join(filter(None, (why, "baseline frozen")))
        share = r["bytes"] / r["bytes_fp32"]
        lines.append(
            f"| {r['law']} | {r.get('arm', r['precision'])} | {r['bytes']:,} ({share:.0%} of fp32)"
            f" | {outcome_in_words(r['verdict'], r.get('power'))}"
            f" | {_effect(r, 'activity')} | {_effect(r, 'lyapunov')} | {_effect(r, 'memory_short')} | {why} |"
        )
    return "\n".join(lines)


def _effect(found: dict[str, Any], name: str) -> str:
    effect, low, high = (nan if x is None else x for x in found["metrics"].get(name, [nan] * 5)[:3])
    return f"{effect:+.1%} [{low:+.1%}, {high:+.1%}]" if effect == effect else "none"


def add_perturbation_option(options: argparse.ArgumentParser) -> None:
    """Add the option `--perturbation`."""
    options.add_argument(
        "--perturbation",
        type=float,
        default=Plan.perturbation,
        help="size of the difference that measures the exponent: above what 16-bit operands add to it in a step",
    )


def add_refinement_options(options: argparse.ArgumentParser) -> None:
    """Add the options of calibrations and refinements, which `refinement_of` reads."""
    options.add_argument("--arm", choices=calibration.ARMS, default="readout", help="of a calibration")
    options.add_argument("--fit-rounds", type=int, default=0, help="rounds that fit gains of the codes")
    options.add_argument("--start", choices=calibration.ARMS, default=Settings.start, help="codes that are refined")
    options.add_argument("--updates", type=int, default=Settings.updates, help="of a refinement")
    options.add_argument("--rate", type=float, default=Settings.rate, help="their learning rate")
    options.add_argument("--draws", type=int, default=1, help="of codes, from other universes; the best are kept")
    options.add_argument(
        "--measured", type=int, default=Settings.measured, help="universes that measure each of several"
    )
    options.add_argument("--pool", type=int, default=0, help="universes of each kind to draw from; default: 4 batches")
    options.add_argument("--distil", type=int, default=0, help="cheap updates before those")
    options.add_argument("--distil-rate", type=float, default=Settings.distil_rate)
    options.add_argument("--batch", type=int, default=4, help="universes of each kind in an update")


def refinement_of(chosen: argparse.Namespace, plan: Plan) -> Settings:
    """Return how laws are refined by these options, on the grid and with the gamma of the plan."""
    return Settings(
        plan.grid,
        plan.gamma,
        members=chosen.pool or 4 * chosen.batch,
        start=chosen.start,
        batch=chosen.batch,
        distil=chosen.distil,
        distil_rate=chosen.distil_rate,
        updates=chosen.updates,
        rate=chosen.rate,
        draws=chosen.draws,
        fit_rounds=chosen.fit_rounds,
        measured=chosen.measured,
    )


def calibration_of(how: Settings) -> calibration.Settings:
    """Return the settings of a calibration on as many universes, with as many draws, as a refinement."""
    return calibration.Settings(
        how.grid, how.gamma, how.members, draws=how.draws, fit_rounds=how.fit_rounds, measured=how.measured
    )


def main() -> None:
    """Judge the laws that the file does not hold yet, or print the table."""
    options = argparse.ArgumentParser(prog="python -m benchmarks.fidelity_table", description=__doc__)
    options.add_argument("--plan", choices=PLANS, default="small")
    options.add_argument("--members", type=int, default=64, help="per ensemble; 0: what the pilot asks for")
    add_perturbation_option(options)
    options.add_argument("--only", nargs="*", help="names of laws")
    options.add_argument("--laws", nargs="+", metavar="NAME", help="laws of the data folder: name or name@digest")
    options.add_argument("--arms", nargs="+", choices=MADE, help="make these of every law; default: what it carries")
    add_refinement_options(options)
    options.add_argument("--keep", type=Path, metavar="FOLDER", help="where the laws that --arms makes stay")
    options.add_argument("--file", type=Path, default=Path("benchmarks/results/fidelity_table.json"))
    options.add_argument("--markdown", action="store_true", help="print the table from the file")
    chosen = options.parse_args()
    logging.basicConfig(level=logging.WARNING)
    found: dict[str, Any] = json.loads(chosen.file.read_text()) if chosen.file.exists() else {}
    if chosen.markdown:
        print(markdown([r for rows in found["laws"].values() for r in rows]))
        return
    if chosen.keep and chosen.keep.exists() and any(chosen.keep.iterdir()):
        options.error(f"--keep = {chosen.keep}: it is not empty, and laws are never overwritten")
    plan = PLANS[chosen.plan].with_(perturbation=chosen.perturbation)
    plan = plan.with_(members=chosen.members, pilot=0) if chosen.members else plan
    how = refinement_of(chosen, plan)
    found |= {"device": pick_device().kind, "laws": found.get("laws", {})}
    with TemporaryDirectory() as folder:
        named = [default_registry().resolve(name) for name in chosen.laws or []]
        for law in named or laws(Path(folder)):
            key = law.ref if named else law.name
            if key in found["laws"] or (chosen.only and law.name not in chosen.only):
                continue
            if chosen.arms:
                subjects = made(law, chosen.arms, how, chosen.arm, plan, chosen.keep or Path(folder))
            else:
                subjects = arms(law, plan, Path(folder))
            found["laws"][key] = judge_all(law, plan, subjects)
            chosen.file.parent.mkdir(parents=True, exist_ok=True)
            chosen.file.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
