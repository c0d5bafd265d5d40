"""`leym view` and `compare`: look at universes side by side, and measure how they part."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from leym.cli.completion import JobId, JobIds, jobs
from leym.cli.jobs import Json, shown
from leym.cli.output import exits, note, write_json, write_table

if TYPE_CHECKING:
    from leym.client import Client
    from leym.client.views import View

FieldName = Annotated[str | None, typer.Option(help="recorded field; default: phase, or else another one")]
ViewOut = Annotated[Path, typer.Option("--out", "-o", help="file to write: html (with a player), gif, webp or png")]
Start = Annotated[int | None, typer.Option(help="first step")]
Stop = Annotated[int | None, typer.Option(help="step to stop before")]
Frames = Annotated[int, typer.Option(min=1, max=10_000, help="most frames of each universe; of more, every n-th")]
Channel = Annotated[int | None, typer.Option(help="channel to draw, of a field with channels")]
Fps = Annotated[int, typer.Option(min=1, max=60, help="frames per second")]
Scale = Annotated[int | None, typer.Option(min=1, max=64, help="pixels per cell of an animation")]


def view(
    context: typer.Context,
    ids: JobIds,
    out: ViewOut,
    field: FieldName = None,
    start: Start = None,
    stop: Stop = None,
    frames: Frames = 200,
    channel: Channel = None,
    lineage: Annotated[bool, typer.Option("--lineage", help="with the steps of the jobs that each continues")] = False,
    fps: Fps = 12,
    scale: Scale = None,
    as_json: Json = False,
) -> None:
    """Save universes side by side on one clock, and print the name of the file."""
    client: Client = context.obj
    with exits(as_json):
        first, *others = [client.job(id) for id in ids]
        found = first.show(
            field, start=start, stop=stop, frames=frames, channel=channel, lineage=lineage, beside=others, fps=fps
        )
        save(found, out, scale, as_json)


def save(view: View, out: Path, scale: int | None, as_json: bool) -> None:
    """Save a view and print the name of the file."""
    view.save(out, scale)
    write_json({"file": str(out), "bytes": out.stat().st_size}) if as_json else print(out)


def compare(
    context: typer.Context,
    id: JobId,
    other: Annotated[str, typer.Argument(metavar="OTHER", help="job id", autocompletion=jobs)],
    field: FieldName = None,
    as_json: Json = False,
) -> None:
    """Compare two universes step by step, such as a job and its fork.

    Prints the mean and the largest absolute difference of a field, and the share of cells that differ by more than a
    hundredth of its range. The keys in which the two jobs differ go to stderr.
    """
    client: Client = context.obj
    with exits(as_json):
        mine, theirs = client.job(id), client.job(other)
        found = mine.differences(theirs, field)
    keys = [key for key in {**mine.spec, **theirs.spec} if mine.spec.get(key) != theirs.spec.get(key)]
    if as_json:
        differs = {key: [mine.spec.get(key), theirs.spec.get(key)] for key in keys}
        write_json({"differs": differs} | {name: values.tolist() for name, values in found.items()})
        return
    for key in keys:
        note(f"{key}: {shown(mine.spec.get(key))} and {shown(theirs.spec.get(key))}")
    write_table(list(found), zip(*(values.tolist() for values in found.values()), strict=True), heading=True)


def register(app: typer.Typer) -> None:
    """Add these commands to the application."""
    app.command()(view)
    app.command()(compare)
