"""Command that draws a teacher: `python -m leym.training.teachers NAME out.png`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from PIL import Image

from leym.training.teachers.catalog import TEACHERS, teacher
from leym.training.teachers.pictures import stills


def draw(
    name: Annotated[str, typer.Argument(help=f"One of {', '.join(TEACHERS)}.")],
    out: Annotated[Path, typer.Argument(help="PNG file to write.")],
    preset: Annotated[str | None, typer.Option(help="Regime of the model.")] = None,
    start: Annotated[str | None, typer.Option(help="Kind of start; drawn by the seed if not given.")] = None,
    steps: Annotated[str, typer.Option(help="Steps to draw.")] = "0,50,100,200,400",
    side: Annotated[int, typer.Option(help="Cells per side.")] = 96,
    seed: Annotated[int, typer.Option(help="Seed of the start.")] = 1,
    scale: Annotated[int, typer.Option(help="Pixels per side of a cell.")] = 2,
    padding: Annotated[str, typer.Option(help="periodic or zero.")] = "periodic",
) -> None:
    """Write a row of stills of a teacher as a PNG."""
    try:
        model = teacher(name, padding=padding, preset=preset)
        row = stills(model, [int(step) for step in steps.split(",")], (side, side), seed, start, scale)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    # 64 colours are enough for a still, and a third of the bytes.
    Image.fromarray(row).quantize(64).save(out, optimize=True)


if __name__ == "__main__":
    typer.run(draw)
