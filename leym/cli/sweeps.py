"""`leym sweep run`, `show`, `table` and `cancel`: one law over many points."""

from __future__ import annotations

from typing import Annotated

import typer

from leym.cli import specs
from leym.cli.jobs import (
    Gamma,
    Grid,
    InitialText,
    Json,
    ObserveText,
    PrecisionName,
    Priority,
    Record,
    Seed,
    SpecFile,
    Steps,
    Tags,
    note_inheritance,
    source_of,
    spec_of,
)
from leym.cli.output import FAILED, exits, write_json, write_table
from leym.client import Client, Sweep
from leym.common.tables import columns_of

app = typer.Typer(help="Run one job for many values of its keys.", no_args_is_help=True)
Id = Annotated[str, typer.Argument(metavar="ID", help="sweep id")]


@app.command()
def run(
    context: typer.Context,
    law: Annotated[str | None, typer.Argument(help="name or name@digest")] = None,
    axis: Annotated[
        list[str] | None,
        typer.Option("--axis", "-a", help="values of a key: KEY=VALUE,VALUE,… or KEY=FIRST..LAST, repeatable"),
    ] = None,
    zipped: Annotated[
        bool, typer.Option("--zip", help="take the axes side by side instead of every combination")
    ] = False,
    grid: Grid = None,
    steps: Steps = None,
    record: Record = None,
    observe: ObserveText = None,
    seed: Seed = None,
    gamma: Gamma = None,
    initial: InitialText = None,
    precision: PrecisionName = None,
    priority: Priority = None,
    tag: Tags = None,
    spec: SpecFile = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="show the progress until all jobs have ended")] = False,
    as_json: Json = False,
) -> None:
    """Queue one job per point and print the id of the sweep."""
    client: Client = context.obj
    with exits(as_json):
        if not axis:
            raise ValueError("a sweep needs at least one --axis, e.g. --axis seed=0..9")
        base = spec_of(
            client, law, spec, grid=grid, steps=steps, record=record, observe=observe, seed=seed, gamma=gamma,
            initial=initial, precision=precision, priority=priority, tag=tag,
        )  # fmt: skip
        axes, source = specs.axes(axis), source_of(base)
        found = client.job(source) if source else None
        sweep = client.sweep(axes=axes, mode="zip" if zipped else "product", **{"law": None} | base)
        if found:
            note_inheritance(found, base, next(sweep.jobs()), varied=axes)
        if not as_json:
            print(sweep.id, flush=True)
        if watch:
            sweep.wait(progress=True)
    if as_json:
        write_json(sweep.as_dict())
    if watch and sweep.state != "succeeded":
        raise typer.Exit(FAILED)


@app.command()
def show(
    context: typer.Context,
    id: Id,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="show the progress until all jobs have ended")] = False,
    as_json: Json = False,
) -> None:
    """Count the jobs in each state."""
    with exits(as_json):
        sweep: Sweep = context.obj.get_sweep(id)
        if watch:
            sweep.wait(progress=True)
    write_json(sweep.as_dict()) if as_json else write_table(("state", "jobs"), sweep.counts.items())
    if watch and sweep.state != "succeeded":
        raise typer.Exit(FAILED)


@app.command()
def table(context: typer.Context, id: Id, as_json: Json = False) -> None:
    """Print one row per job with its point, its state and its last observables."""
    with exits(as_json):
        rows = context.obj.get_sweep(id).table()
    if as_json:
        write_json(rows)
        return
    columns = columns_of(rows)
    write_table(columns, ([row.get(key) for key in columns] for row in rows), heading=True)


@app.command()
def cancel(context: typer.Context, id: Id, as_json: Json = False) -> None:
    """Cancel every job that has not ended."""
    with exits(as_json):
        sweep = context.obj.get_sweep(id).cancel()
    write_json(sweep.as_dict()) if as_json else write_table(("state", "jobs"), sweep.counts.items())
