"""`leym laws tune-precision LAW`: find the weights that need more bits, and keep the smallest law that passes.

Exit codes: 0 a law passes and is kept, 1 none passes and nothing is written, 2 refused.
"""

from __future__ import annotations

import argparse
import json
import logging
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from leym.cli.local.fidelity_options import add_plan_options, chosen_plan
from leym.common.files import write_text
from leym.contract.problems import Problem
from leym.fidelity import search_report
from leym.fidelity.search import keep, rescue
from leym.laws.bundle import NAME, Bundle
from leym.laws.registry import SHIPPED, Registry
from leym.settings import settings

REFUSED, NONE_PASSES = 2, 1


def main(arguments: Sequence[str] | None = None) -> None:
    options = argparse.ArgumentParser(prog="leym laws tune-precision", description=__doc__)
    options.add_argument("law", help="name or name@digest")
    options.add_argument("--precision", choices=("nf4", "int8"), default="nf4")
    add_plan_options(options, "small")
    options.add_argument("--name", help="of the law that is kept; default: a further version of the same name")
    options.add_argument("--report", type=Path, metavar="FILE.html", help="save the frontier as a page with plots")
    options.add_argument("--json", action="store_true", help="one JSON document on stdout")
    options.add_argument("--data", type=Path, help="data folder; default: LEYM_DATA")
    chosen = options.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING)
    data = chosen.data or settings().data
    try:
        plan = chosen_plan(chosen)
        if chosen.name is not None and not re.match(NAME, chosen.name):
            raise ValueError(f"name = {chosen.name!r}: it must match {NAME}")
        if chosen.report is not None and not chosen.report.parent.is_dir():
            raise ValueError(f"report = {str(chosen.report)!r}: there is no folder {str(chosen.report.parent)!r}")
        law = Registry(SHIPPED, data / "laws").resolve(chosen.law)
        found = rescue(law, chosen.precision, plan, told=_say)
    except (Problem, ValueError) as error:
        _say(f"leym laws tune-precision: {error}")
        sys.exit(REFUSED)
    if chosen.report is not None:
        write_text(chosen.report, search_report.html(found))
    kept = keep(found, data, chosen.name) if found.passed else None
    if chosen.json:
        print(json.dumps(search_report.as_json(found) | {"kept": kept.ref if kept else None}, allow_nan=False))
    else:
        print(search_report.text(found))
        print(_kept(law, kept))
    sys.exit(0 if kept else NONE_PASSES)


def _kept(law: Bundle, kept: Bundle | None) -> str:
    if kept is None:
        return "nothing is written"
    return f"the verdict is kept with {kept.ref}" if kept.digest == law.digest else f"kept: {kept.ref}"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
