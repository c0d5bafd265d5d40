"""`leym laws quantize LAW --precision nf4 --set backbone=int8`: formats of a law's own, kept as a further version."""

from __future__ import annotations

import argparse
import json
import sys

from leym.engine.inspect import inspect, show
from leym.laws import library
from leym.laws.registry import default_registry
from leym.precision.derived import FORMATS, ROLES, with_formats
from leym.problems import Problem
from leym.settings import settings


def formats(words: list[str]) -> dict[str, str]:
    """`WHERE=FORMAT`, one after the other. Raises ValueError."""
    found = {}
    for word in words:
        where, equals, form = word.partition("=")
        if not (where and equals and form):
            raise ValueError(f"--set {word!r}: ROLE=FORMAT or KEY=FORMAT is needed")
        found[where] = form
    return found


def main() -> None:
    options = argparse.ArgumentParser(prog="leym laws quantize", description=__doc__)
    options.add_argument("law", help="name or name@digest")
    options.add_argument("--precision", choices=("nf4", "int8", "bf16"), default="nf4")
    options.add_argument(
        "--set",
        nargs="+",
        required=True,
        metavar="WHERE=FORMAT",
        help=f"WHERE: a role ({', '.join(ROLES)}) or the beginning of a weight's key; FORMAT: {', '.join(FORMATS)}",
    )
    options.add_argument("--name", help="of the law that is kept; default: a further version of the same name")
    options.add_argument("--json", action="store_true")
    chosen = options.parse_args()
    try:
        law = default_registry().resolve(chosen.law)
        with library.scratch(settings().data / "laws") as work:
            prepared = with_formats(law, chosen.precision, formats(chosen.set), work / "law", name=chosen.name)
            kept, _ = library.add_version(settings().data / "laws", prepared.path)
        found = inspect(kept, chosen.precision, (64, 64), 1)
    except (Problem, ValueError) as error:
        sys.exit(f"leym laws quantize: {error}")
    if chosen.json:
        print(json.dumps({"kept": kept.ref} | found))
        return
    show(found)
    print(f"\nkept: {kept.ref}\nunverified: `leym fidelity run {kept.name} --precision {chosen.precision}` judges it")


if __name__ == "__main__":
    main()
