"""`leym laws inspect LAW`: print the bytes and the error of every layer, and the memory of a bucket."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

import typer

from leym.cli.output import FAILED, note
from leym.common.typed_numbers import whole
from leym.contract.problems import Problem
from leym.contract.spec import LIMITS
from leym.engine import memory_report
from leym.laws.registry import default_registry
from leym.laws.verdicts import resolve_precision

app = typer.Typer(add_completion=False)


@app.command()
def inspect(
    law: Annotated[str, typer.Argument(help="name or name@digest")],
    precision: Annotated[Literal["nf4", "int8", "bf16", "fp32", "auto"], typer.Option()] = "nf4",
    grid: Annotated[tuple[int, int], typer.Option(parser=whole(*LIMITS.side), metavar="H W", help="cells")] = (64, 64),
    slots: Annotated[int, typer.Option(parser=whole(1, 4096), help="universes that run at once")] = 8,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON document on stdout")] = False,
) -> None:
    """Print the bytes and the error of every layer of a law, and the memory of a bucket of it on this machine."""
    try:
        bundle = default_registry().resolve(law)
        found = memory_report.inspect(bundle, resolve_precision(bundle, precision), grid, slots)
    except Problem as problem:
        note(f"leym: {problem.detail}")
        raise typer.Exit(FAILED) from problem
    print(json.dumps(found)) if as_json else show(found)


def show(found: dict[str, Any]) -> None:
    """Print the report of `memory_report.inspect`."""
    show_layers(found)
    memory = found["memory"]
    print(f"\nmemory of {memory['slots']} slots of {memory['grid'][0]}x{memory['grid'][1]} cells, in bytes:")
    for name in ("weights_at_rest", "weights_resident", "state", "activations", "frames_in_flight"):
        value = memory[name]
        print(f"  {name.replace('_', ' '):<20}{'not measured here' if value is None else f'{value:,}':>20}")


def show_layers(found: dict[str, Any]) -> None:
    """Print the report of `memory_report.weigh`."""
    print(f"{found['law']} {found['precision']} on {found['device']}\n")
    print(f"{'key':<36}{'role':<10}{'format':<8}{'at rest':>10}{'resident':>10}{'error':>9}")
    for layer in found["layers"]:
        sizes = f"{layer['bytes_at_rest']:>10,}{layer['bytes_resident']:>10,}"
        print(f"{layer['key']:<36}{layer['role']:<10}{layer['format']:<8}{sizes}{layer['error']:>9.4f}")
    print()
    for role, total in found["roles"].items():
        per = total["bytes_at_rest"] / total["parameters"]
        print(
            f"{role:<10}{total['parameters']:>12,} parameters{total['bytes_at_rest']:>12,} B at rest ({per:.3f} each)"
        )
