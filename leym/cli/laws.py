"""laws: what the service can run, and adding one on the machine that serves it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer

from leym.cli.jobs import Json
from leym.cli.output import exits, write_json, write_table
from leym.client import Client

app = typer.Typer(help="List laws, add one.", invoke_without_command=True)


@app.callback()
def laws(context: typer.Context, as_json: Json = False) -> None:
    if context.invoked_subcommand is not None:
        return
    client: Client = context.obj
    with exits(as_json):
        found = client.laws()
    if as_json:
        write_json(found)
        return
    rows = ((law["name"], law["digest"][:12], law["architecture"], law["d_state"]) for law in found)
    write_table(("name", "digest", "architecture", "d_state"), rows)


@app.command()
def add(
    bundle: Annotated[Path, typer.Argument(help="folder with manifest.json and weights.safetensors")],
    data: Annotated[Path | None, typer.Option(help="data folder of the service; default: LEYM_DATA")] = None,
    as_json: Json = False,
) -> None:
    """Check a bundle and put it into the service's data folder; a running service finds it there."""
    from leym.laws.bundle import read_bundle  # here, so that the commands that only speak HTTP stay light
    from leym.problems import Problem
    from leym.settings import settings

    with exits(as_json):
        try:
            law = read_bundle(bundle)
        except Problem as problem:
            raise ValueError(problem.detail) from problem
        target = (data or settings().data) / "laws" / law.name
        if target.exists():
            raise ValueError(f"law {law.name!r} is there already: {target}")
        shutil.copytree(bundle, target)
    write_json({"name": law.name, "digest": law.digest}) if as_json else print(law.ref)
