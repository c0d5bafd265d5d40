"""What a law weighs in few bits, and versions of it with formats of their own: `leym laws quantize LAW`.

No gate is run: a version made here has no verdict. Exit codes: 0 done, 2 refused.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from leym.contract.problems import Problem, invalid
from leym.engine.device import pick_device
from leym.engine.memory_report import show_layers, weigh
from leym.laws import versions
from leym.laws.bundle import Bundle
from leym.laws.loading import load_weights
from leym.laws.registry import SHIPPED, Registry
from leym.laws.variants import with_policy
from leym.quantization.policy import policy_with
from leym.quantization.quantized_law import quantize_law
from leym.settings import settings

REFUSED = 2


def quantize(
    law: Bundle, precision: str, changes: Sequence[str], data: Path, name: str | None = None
) -> dict[str, Any]:
    """The report of `inspect.weigh`, of the law or of a version of it with `KEY_OR_ROLE=FORMAT` changes.

    The version is kept in the data folder and "kept" is its reference, else None. Raises Problem 422 for changes that
    cannot be, or that change nothing.
    """
    if name is not None and not changes:
        raise invalid(f"name = {name!r}: it needs --set; without one no version is made", "/name")
    device, weights = pick_device(), load_weights(law)
    before = quantize_law(law, weights, precision, device.operands)
    if not changes:
        return weigh(before, weights, device) | {"kept": None}
    policy = policy_with(law, precision, changes)
    with TemporaryDirectory() as work:
        why = {"tune_precision": {"source": law.digest, "precision": precision, "set": list(changes)}}
        made = with_policy(law, Path(work) / "law", precision, policy, name=name, provenance=why)
        after = quantize_law(made, weights, precision, device.operands)
        if [layer.format for layer in after.layers] == [layer.format for layer in before.layers]:
            raise invalid(f"set = {', '.join(changes)}: {law.name} has these formats in {precision} already", "/set")
        kept, _ = versions.add_copy(data / "laws", made.path)
    return weigh(after, weights, device) | {"kept": kept.ref}


def main(arguments: Sequence[str] | None = None) -> None:
    options = argparse.ArgumentParser(prog="leym laws quantize", description=__doc__)
    options.add_argument("law", help="name or name@digest")
    options.add_argument("--precision", choices=("nf4", "int8", "bf16"), default="nf4")
    options.add_argument(
        "--set",
        action="extend",
        nargs="+",
        default=[],
        metavar="KEY_OR_ROLE=FORMAT",
        help="format of a role, or of all matrices whose key begins so; may be given again",
    )
    options.add_argument("--name", help="of the version that is made; default: the same")
    options.add_argument("--json", action="store_true", help="one JSON document on stdout")
    options.add_argument("--data", type=Path, help="data folder; default: LEYM_DATA")
    chosen = options.parse_args(arguments)
    data = chosen.data or settings().data
    try:
        law = Registry(SHIPPED, data / "laws").resolve(chosen.law)
        found = quantize(law, chosen.precision, chosen.set, data, chosen.name)
    except (Problem, ValueError) as error:
        print(f"leym laws quantize: {error}", file=sys.stderr)
        sys.exit(REFUSED)
    if chosen.json:
        print(json.dumps(found))
        return
    show_layers(found)
    if found["kept"]:
        name = found["kept"].partition("@")[0]
        print(f"\nkept: {found['kept']}; {name!r} means this version from now on")
        print(f"unverified: nobody has judged it; leym fidelity run {name} --precision {chosen.precision}")


if __name__ == "__main__":
    main()
