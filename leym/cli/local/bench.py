"""`leym bench [LAW]`: measure how fast this machine runs a law, or the best batch size for it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any, Literal

import typer

from leym.cli.output import FAILED, note
from leym.common.typed_numbers import real, whole
from leym.contract.problems import Problem
from leym.contract.spec import LIMITS
from leym.engine.batch_size import BatchSizeTable, choose
from leym.engine.benchmark import MeasuredSize, bench, measure_batch_sizes
from leym.engine.device import pick_device
from leym.laws.registry import default_registry
from leym.laws.verdicts import resolve_precision
from leym.settings import settings

app = typer.Typer(add_completion=False)


@app.command()
def run(
    law: Annotated[str, typer.Argument(help="name or name@digest")] = "aurora",
    precision: Annotated[Literal["nf4", "int8", "bf16", "fp32", "auto"], typer.Option()] = "nf4",
    grid: Annotated[tuple[int, int], typer.Option(parser=whole(*LIMITS.side), metavar="H W", help="cells")] = (64, 64),
    slots: Annotated[int, typer.Option(parser=whole(1, 4096), help="universes that run at once")] = 8,
    seconds: Annotated[float, typer.Option(parser=real(0.01, 3600), help="time for the measurement, about")] = 6.0,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON document on stdout")] = False,
    batch_sizes: Annotated[
        bool, typer.Option("--batch-sizes", help="measure full batches of 1, 2, 4, ... slots, up to --slots")
    ] = False,
    rungs: Annotated[bool, typer.Option("--rungs", hidden=True, help="earlier name of --batch-sizes")] = False,
    keep: Annotated[
        bool, typer.Option("--keep", help="with --batch-sizes: workers on this kind of device use the best one")
    ] = False,
) -> None:
    """Measure how fast this machine runs a law, and compare it with what the machine can do.

    Every slot runs a universe of the same length and nothing is recorded.
    """
    try:
        bundle = default_registry().resolve(law)
        resolved = resolve_precision(bundle, precision)
        if not (batch_sizes or rungs):
            found = bench(bundle, resolved, grid, slots, seconds)
            print(json.dumps(found)) if as_json else show(found)
            return
        sizes = measure_batch_sizes(bundle, resolved, grid, slots, seconds)
    except Problem as problem:
        note(f"leym: {problem.detail}")
        raise typer.Exit(FAILED) from problem
    best = choose({one.slots: one.cell_steps_per_s for one in sizes})
    if as_json:
        print(json.dumps({"batch_size": best, "batch_sizes": [asdict(one) for one in sizes]}))
    else:
        show_batch_sizes(sizes, best)
    if keep:
        BatchSizeTable(pick_device(), settings().batch_sizes_file).keep(bundle.manifest, resolved, grid, best)


def show(found: dict[str, Any]) -> None:
    """Print the result of `leym.engine.benchmark.bench`."""
    height, width = found["grid"]
    ceilings = found["ceilings"]
    print(
        f"{found['law'][:40]} {found['precision']}, {height}x{width}, {found['slots']} slots,"
        f" batches of {found['batch_size']}"
    )
    print(f"{found['device']}; kernel: {found['kernel']}")
    print(f"{found['cell_steps_per_s']:>16,.0f} cell-steps/s  {found['engine_vs_step']:6.1%} of the step alone")
    print(f"{found['gflops']:>16,.1f} GFLOP/s  {found['compute_share']:6.1%} of a matrix product's")
    print(f"{found['gbytes_per_s']:>16,.2f} GB/s     {found['memory_share']:6.1%} of a copy's, of bytes that must move")
    print("ceilings: " + ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in ceilings.items()))
    for reason in found["degraded"]:
        print(f"degraded: {reason}")


def show_batch_sizes(found: Sequence[MeasuredSize], best: int) -> None:
    """Print a line per batch size; sizes with the same letter give the same bits."""
    print(f"{'batch size':>10} {'cell-steps/s':>16}  bits")
    for one in found:
        chosen = "     chosen" if one.slots == best else ""
        print(f"{one.slots:>10} {one.cell_steps_per_s:>16,.0f}  {one.bits}{chosen}")
