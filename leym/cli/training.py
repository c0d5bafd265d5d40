"""`leym training`: train a law as a job of the service. `leym train` trains on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from leym.cli import specs
from leym.cli.completion import JobId
from leym.cli.jobs import Json, Tags, show_progress
from leym.cli.output import exits, write_json, write_table

if TYPE_CHECKING:
    from leym.client import Client

app = typer.Typer(help="Train laws as jobs of the service, and show their curves.", no_args_is_help=True)


@app.command()
def submit(
    context: typer.Context,
    recipe: Annotated[Path, typer.Argument(help="TOML file: what to train, towards what, and how")],
    name: Annotated[str | None, typer.Option(help="name of the law; default: the recipe's")] = None,
    priority: Annotated[int | None, typer.Option(help="among trainings: 0 to 9; 9 is the most urgent")] = None,
    tag: Tags = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="show the progress until the job has ended")] = False,
    as_json: Json = False,
) -> None:
    """Train a law by a recipe as a job of the service; print its id, or NAME@DIGEST with --watch."""
    client: Client = context.obj
    with exits(as_json):
        given: dict[str, Any] = {"priority": priority, "tags": specs.tags(tag) if tag else None}
        job = client.train(recipe, name, **{key: value for key, value in given.items() if value is not None})
        if not watch:
            write_json(job.as_dict()) if as_json else print(job.id)
            return
        show_progress([job], None, as_json)
        if not as_json:
            print(job.law)


@app.command()
def curve(
    context: typer.Context,
    id: JobId,
    as_json: Json = False,
) -> None:
    """Show the curve of a training so far."""
    client: Client = context.obj
    with exits(as_json):
        columns = {name: values.tolist() for name, values in client.job(id).curve().items()}
        write_json(columns) if as_json else write_table(
            tuple(columns), (list(map(_number, row)) for row in zip(*columns.values(), strict=True))
        )


def _number(value: float) -> str:
    return f"{value:.6g}"
