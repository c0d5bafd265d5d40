"""`leym laws quantize LAW`: print the size of a law in few bits, and make versions of it with chosen formats."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Literal

import typer

from leym.cli.local.inspect import show_layers
from leym.cli.output import USAGE, note
from leym.cli.variadic import VariadicCommand
from leym.contract.problems import Problem, invalid
from leym.engine.device import pick_device
from leym.engine.memory_report import weigh
from leym.laws import versions
from leym.laws.bundle import Bundle
from leym.laws.loading import load_weights
from leym.laws.registry import SHIPPED, Registry
from leym.laws.variants import write_variant
from leym.quantization.policy import policy_with, unchanged
from leym.quantization.quantized_law import quantize_law
from leym.settings import settings


def quantize(
    law: Bundle, precision: str, changes: Sequence[str], data: Path, name: str | None = None
) -> dict[str, Any]:
    """Report the layers of a law in a precision; with changes, make and keep a version that has them.

    Args:
        law: the law.
        precision: precision to report, and to change formats of.
        changes: `KEY_OR_ROLE=FORMAT`, the format of a role or of all matrices whose key starts so.
        data: data folder that keeps the version.
        name: name of the version; default: the name of the law.

    Returns:
        The report of `memory_report.weigh`, and the reference of the version as "kept", None without changes.

    Raises:
        Problem: 422, a change is impossible, or the changes have no effect.
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
        keep_codes = unchanged(law, precision, policy)
        made = write_variant(
            law, Path(work) / "law", precision, policy, name=name, provenance=why, keep_codes=keep_codes
        )
        after = quantize_law(made, weights, precision, device.operands)
        if [layer.format for layer in after.layers] == [layer.format for layer in before.layers]:
            raise invalid(f"set = {', '.join(changes)}: {law.name} already has these formats in {precision}", "/set")
        kept, _ = versions.add_copy(data / "laws", made.path)
    return weigh(after, weights, device) | {"kept": kept.ref}


app = typer.Typer(add_completion=False)


@app.command(cls=VariadicCommand)
def run(
    law: Annotated[str, typer.Argument(help="name or name@digest")],
    precision: Annotated[Literal["nf4", "int8", "bf16"], typer.Option()] = "nf4",
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY_OR_ROLE=FORMAT ...",
            help="format of a role, or of all matrices whose key starts so; takes several, repeatable",
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(help="name of the new version; default: the same name")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON document on stdout")] = False,
    data: Annotated[Path | None, typer.Option(help="data folder; default: LEYM_DATA")] = None,
) -> None:
    """Print the size of a law in few bits; with --set, make a version with formats of your choice.

    No gate is run: the new version has no verdict. Exit codes: 0 done, 2 refused.
    """
    folder = data or settings().data
    try:
        bundle = Registry(SHIPPED, folder / "laws").resolve(law)
        found = quantize(bundle, precision, changes or (), folder, name)
    except (Problem, ValueError) as error:
        note(f"leym laws quantize: {error}")
        raise typer.Exit(USAGE) from error
    if as_json:
        print(json.dumps(found))
        return
    show_layers(found)
    if found["kept"]:
        kept = found["kept"].partition("@")[0]
        print(f"\nkept: {found['kept']}; {kept!r} means this version from now on")
        print(f"unverified: nobody has judged it; leym fidelity run {kept} --precision {precision}")
