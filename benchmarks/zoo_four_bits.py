"""Gives laws of the zoo codes of their own for four bits, and verdicts: `python -m benchmarks.zoo_four_bits NAME...`.

For each law: make codes by an arm of calibration (`--arm`, by default `readout`) or by refining its NF4 weights towards
its fp32 form (`--refine`); judge nearest rounding, the own codes, int8 and bf16 against the same two fp32 ensembles;
and write codes and verdicts into `laws/NAME`, whatever the outcome. Nearest rounding is kept in
`benchmarks/results/zoo_four_bits.json` with the others. `--again` keeps the codes and judges them, with more members
for example; verdicts on precisions that `--precisions` leaves out stay then.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.fidelity_table import (
    add_perturbation_option,
    add_refinement_options,
    calibration_of,
    refinement_of,
    row,
)
from benchmarks.zoo import LAWS
from leym.contract.fidelity_plan import PLANS, Plan
from leym.fidelity.baselines import run_baselines
from leym.fidelity.ensemble import EngineLike, Subject, running_engine
from leym.fidelity.gate import ENGINE_SLOTS, judge_against
from leym.laws.bundle import MANIFEST, WEIGHTS, Bundle, read_bundle
from leym.laws.variants import write_variant
from leym.laws.verdicts import Verdict, write_verdict
from leym.training.calibration.candidates import choose_codes
from leym.training.calibration.candidates import write as write_calibrated
from leym.training.calibration.states import check_seeds
from leym.training.refinement.refined import refined, write
from leym.training.refinement.training import Settings

PRECISIONS = ("nf4", "int8", "bf16")
RESULTS = Path("benchmarks/results/zoo_four_bits.json")


def give(name: str, plan: Plan, how: Settings, arm: str | None, precisions: Sequence[str]) -> list[dict[str, Any]]:
    """Make codes by an arm, or refine without one, judge, write all into the law's folder, and return a row per arm."""
    check_seeds(how.used_seeds, plan)
    with TemporaryDirectory() as folder, running_engine(None, ENGINE_SLOTS) as engine:
        law = parent(read_bundle(LAWS / name), Path(folder) / "parent")
        say = partial(print, name, flush=True)
        if arm:
            codes = choose_codes(law, [arm], plan, calibration_of(how), engine=engine, on_progress=say)
            made = write_calibrated(codes, arm, Path(folder) / "made")
        else:
            made = write(refined(law, "nf4", how, plan, engine=engine, on_progress=say), Path(folder) / "made")
        print(f"{name}: {made.ref}", flush=True)
        arms = {"nearest": Subject(law, "nf4", plan.gamma)} | subjects(made, precisions, plan)
        verdicts = judge_all(engine, made, arms, plan)
        for file in (MANIFEST, WEIGHTS):
            shutil.copyfile(made.path / file, LAWS / name / file)
        shutil.rmtree(LAWS / name / "fidelity", ignore_errors=True)
        return keep(name, arms, verdicts)


def judge_again(name: str, plan: Plan, precisions: Sequence[str]) -> list[dict[str, Any]]:
    """Judge the codes that a law has, write the verdicts into its folder, and return a row per precision."""
    with running_engine(None, ENGINE_SLOTS) as engine:
        law = read_bundle(LAWS / name)
        arms = subjects(law, precisions, plan)
        return keep(name, arms, judge_all(engine, law, arms, plan))


def subjects(law: Bundle, precisions: Sequence[str], plan: Plan) -> dict[str, Subject]:
    return {precision: Subject(law, precision, plan.gamma) for precision in precisions}


def judge_all(engine: EngineLike, law: Bundle, arms: dict[str, Subject], plan: Plan) -> dict[str, Verdict]:
    baselines = run_baselines(engine, law, plan)  # its fp32 weights are those of its parent
    return {arm: judge_against(engine, baselines, subject) for arm, subject in arms.items()}


def keep(name: str, arms: dict[str, Subject], verdicts: dict[str, Verdict]) -> list[dict[str, Any]]:
    """Write verdicts into the folder of a law, but that of nearest rounding, and return a row per arm."""
    kept = read_bundle(LAWS / name)
    for arm, verdict in verdicts.items():
        if arm != "nearest":
            write_verdict(kept, verdict)
    rows = [row(arm, verdict, arms[arm].law) | {"law": name} for arm, verdict in verdicts.items()]
    for found in rows:
        print(f"{name} {found['arm']}: {found['verdict']}, {found['reasons']}", flush=True)
    return rows


def parent(law: Bundle, folder: Path) -> Bundle:
    """Return a copy of the law without own codes for four bits; the law's folder will be overwritten."""
    if law.manifest.codes:
        return write_variant(law, folder, "nf4", dict(law.manifest.policy.get("nf4", {})))
    folder.mkdir()
    for file in (MANIFEST, WEIGHTS):
        shutil.copyfile(law.path / file, folder / file)
    return read_bundle(folder)


def main() -> None:
    """Give the named laws codes and verdicts."""
    options = argparse.ArgumentParser(prog="python -m benchmarks.zoo_four_bits", description=__doc__)
    options.add_argument("names", nargs="*", metavar="NAME")
    options.add_argument("--members", type=int, default=64, help="per ensemble")
    add_perturbation_option(options)
    add_refinement_options(options)
    options.set_defaults(distil=2000)
    options.add_argument("--refine", action="store_true", help="refine, and calibrate by no arm")
    options.add_argument("--again", action="store_true", help="judge the codes that a law has")
    options.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=PRECISIONS)
    options.add_argument("--file", type=Path, default=RESULTS)
    chosen = options.parse_args()
    for name in chosen.names:
        plan = PLANS["small"].with_(members=chosen.members, pilot=0, perturbation=chosen.perturbation)
        rows = (
            judge_again(name, plan, chosen.precisions)
            if chosen.again
            else give(name, plan, refinement_of(chosen, plan), None if chosen.refine else chosen.arm, chosen.precisions)
        )
        found = json.loads(chosen.file.read_text()) if chosen.file.exists() else {"laws": {}}
        found["laws"][name] = [*found["laws"].get(name, ()), *rows] if chosen.again else rows
        chosen.file.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
