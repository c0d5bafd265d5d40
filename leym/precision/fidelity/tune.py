"""`leym laws tune-precision LAW`: search for the weights that need more bits, and keep the smallest law that passes."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from leym.laws import library
from leym.laws.bundle import Bundle
from leym.laws.registry import default_registry
from leym.precision.derived import with_formats
from leym.precision.fidelity import frontier
from leym.precision.fidelity.ensemble import an_engine
from leym.precision.fidelity.options import add_plan_options, chosen_plan
from leym.precision.fidelity.rescue import Rescue, rescue
from leym.precision.fidelity.verdicts import write_verdict
from leym.problems import Problem
from leym.settings import settings

NONE_PASSES = 1  # exit code


def keep(found: Rescue, name: str, plan: str) -> Bundle:
    """The law that was found, as a new version in the data folder, with its verdict beside it."""
    assert found.found is not None
    candidate, verdict = found.found
    folder = settings().data / "laws"
    with library.scratch(folder) as work:
        formats = candidate.manifest.policy[found.precision]  # type: ignore[index]
        why = {"tuned_for": found.precision, "plan": plan, "verdict": verdict.verdict}
        prepared = with_formats(found.law, found.precision, formats, work / "law", name=name, why=why)
        kept, _ = library.add_version(folder, prepared.path)
    said = verdict.law | {"name": name, "digest": kept.digest, "source": found.law.digest}
    write_verdict(kept, replace(verdict, law=said))
    return kept


def main() -> None:
    options = argparse.ArgumentParser(prog="leym laws tune-precision", description=__doc__)
    options.add_argument("law", help="name or name@digest")
    options.add_argument("--precision", choices=("nf4", "int8"), default="nf4")
    add_plan_options(options, "small")
    options.add_argument("--name", help="of the law that is kept; default: a further version of the same name")
    options.add_argument("--report", type=Path, metavar="FILE.html", help="save the frontier as a page with a plot")
    options.add_argument("--json", action="store_true", help="one JSON document on stdout")
    chosen = options.parse_args()
    logging.basicConfig(level=logging.WARNING)
    try:
        law = default_registry().resolve(chosen.law)
        plan = chosen_plan(chosen)
        with TemporaryDirectory() as folder, an_engine(None, min(max(plan.members, plan.pilot), 64)) as engine:
            found = rescue(engine, law, chosen.precision, plan, Path(folder), lambda text: print(text, file=sys.stderr))
            kept = keep(found, chosen.name or law.name, chosen.plan) if found.found else None
    except (Problem, ValueError) as error:
        sys.exit(f"leym laws tune-precision: {error}")
    if chosen.report:
        chosen.report.write_text(frontier.page(found), encoding="utf-8")
    if chosen.json:
        parts = {"sensitivities": map(asdict, found.sensitivities), "tried": map(asdict, found.tried)}
        said = {name: list(rows) for name, rows in parts.items()}
        print(json.dumps({"law": law.ref, "precision": chosen.precision, "kept": kept and kept.ref} | said))
    else:
        print(frontier.text(found))
        print(
            f"\nkept: {kept.ref}" if kept else f"\nno rung passes: {law.ref} has no {chosen.precision} that is the law"
        )
    sys.exit(0 if kept else NONE_PASSES)


if __name__ == "__main__":
    main()
