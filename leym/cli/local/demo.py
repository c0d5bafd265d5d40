"""`leym demo`: run twelve universes through a service of its own, and save pictures of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from leym.cli.output import FAILED, note
from leym.client import LeymError
from leym.demo.run import demo
from leym.demo.service import ServiceStartError

app = typer.Typer(add_completion=False)


@app.command()
def run(
    out: Annotated[Path, typer.Option(help="folder of the pictures")] = Path("demo-out"),
    as_json: Annotated[bool, typer.Option("--json", help="the numbers as one JSON document")] = False,
) -> None:
    """Start a service of its own, run twelve universes through it, save pictures, print numbers and stop it."""
    try:
        demo(out, as_json)
    except (LeymError, ServiceStartError, TimeoutError) as error:
        note(f"demo: {error}")
        raise typer.Exit(FAILED) from error
