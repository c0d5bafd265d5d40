"""`leym frames` and `leym observables`: print the results of a job or save them to a file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from leym.cli.completion import JobId
from leym.cli.jobs import Json
from leym.cli.output import exits, write_json, write_table
from leym.common.files import STDOUT

if TYPE_CHECKING:
    from leym.client import Job

Start = Annotated[int | None, typer.Option(help="first step")]
Stop = Annotated[int | None, typer.Option(help="step to stop before")]
Stride = Annotated[int | None, typer.Option(help="every n-th frame")]
Format = Annotated[
    str | None,
    typer.Option(
        "--format", "-f", help="default: the ending of --out; on stdout npz for a field and csv for observables"
    ),
]
Out = Annotated[Path | None, typer.Option("--out", "-o", help="file to write; - for stdout")]


def frames(
    context: typer.Context,
    id: JobId,
    field: Annotated[str | None, typer.Argument(help="a recorded field; without one, list them")] = None,
    out: Out = None,
    format: Format = None,
    start: Start = None,
    stop: Stop = None,
    stride: Stride = None,
    channel: Annotated[int | None, typer.Option(help="channel to draw, of a field with channels")] = None,
    fps: Annotated[int | None, typer.Option(help="frames per second of an animation, at most 50 for gif")] = None,
    scale: Annotated[int | None, typer.Option(help="pixels per cell")] = None,
    as_json: Json = False,
) -> None:
    """List the recorded fields, or save one as npy, npz, png, gif or webp."""
    with exits(as_json):
        job: Job = context.obj.job(id)
        if field is None:
            _list_fields(job, as_json)
            return
        target = out or Path(f"{id}-{field}.{format or 'npz'}")
        options = {"start": start, "stop": stop, "stride": stride, "channel": channel, "fps": fps, "scale": scale}
        _save(job, field, target, format, as_json, **options)


def _save(job: Job, field: str, out: Path, format: str | None, as_json: bool, **options: int | None) -> None:
    """Save to a file and print its name, or write to stdout and print nothing else."""
    if out == STDOUT:
        if as_json:
            raise ValueError("--out - and --json both write to stdout: choose one")
        format = format or ("csv" if field == "observables" else "npz")
        if sys.stdout.isatty() and format not in ("csv", "json"):
            raise ValueError(f"{format} cannot be shown on a terminal: redirect stdout, or name a file with --out")
        job._save(field, out, format, **options)
        return
    size = job._save(field, out, format, **options)
    write_json({"file": str(out), "bytes": size}) if as_json else print(out)


def _list_fields(job: Job, as_json: bool) -> None:
    found = job.list_fields()
    if as_json:
        write_json(found)
        return
    keys = ("name", "dtype", "shape", "units", "every", "committed")
    write_table(keys, ([_cell(field.get(key)) for key in keys] for field in found))


def observables(
    context: typer.Context,
    id: JobId,
    names: Annotated[list[str] | None, typer.Argument(help="names of observables; default: all")] = None,
    out: Out = None,
    format: Format = None,
    as_json: Json = False,
) -> None:
    """Print the observables per step, or save them as json, csv or npz."""
    with exits(as_json):
        job: Job = context.obj.job(id)
        if out is not None:
            _save(job, "observables", out, format, as_json)
            return
        found = job.series()
        for name in names or ():
            if name not in found:
                raise ValueError(f"{name!r} is not observed; observed: {', '.join(n for n in found if n != 'step')}")
    chosen = ["step", *(names or (name for name in found if name != "step"))]
    if as_json:
        write_json({name: found[name].tolist() for name in chosen})
    else:
        write_table(chosen, zip(*(found[name].tolist() for name in chosen), strict=True), heading=True)


def _cell(value: Any) -> Any:
    return "x".join(map(str, value)) if isinstance(value, list) else value


def register(app: typer.Typer) -> None:
    """Add these commands to the application."""
    app.command()(frames)
    app.command()(observables)
