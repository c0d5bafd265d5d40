"""`leym share`, `links`, `export`, `label` and `reproduce`: pass results on, and compute them again from a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from leym.cli import specs
from leym.cli.jobs import Json
from leym.cli.output import FAILED, exits, note, write_json, write_table

if TYPE_CHECKING:
    from leym.client import Client, Job, Sweep

DAY_S = 86400
Id = Annotated[str, typer.Argument(metavar="ID", help="id of a job or a sweep")]


def find(client: Client, id: str) -> Job | Sweep:
    """Return the job or the sweep with this id."""
    from leym.client import ProblemError

    try:
        return client.job(id)
    except ProblemError as error:
        if error.status != 404:
            raise
    return client.get_sweep(id)


def share(
    context: typer.Context,
    id: Id,
    days: Annotated[float, typer.Option(min=0.001, max=30, help="days until the link expires")] = 7,
    as_json: Json = False,
) -> None:
    """Print a link to a page with the results, which needs no account."""
    with exits(as_json):
        link = find(context.obj, id).share(int(days * DAY_S))
    if as_json:
        write_json(link)
        return
    print(link["page"])
    note(f"until {link['expires_at']}; leym links {id} --revoke {link['id']} ends it before")


def links(
    context: typer.Context,
    id: Id,
    revoke: Annotated[str | None, typer.Option(metavar="LINK", help="id of a link to revoke")] = None,
    as_json: Json = False,
) -> None:
    """List the links to a job or a sweep that hold."""
    with exits(as_json):
        found = find(context.obj, id)
        if revoke:
            found.revoke_link(revoke)
        held = found.links()
    columns = ("id", "expires_at", "page")
    write_json(held) if as_json else write_table(columns, [[link[c] for c in columns] for link in held])


def export(
    context: typer.Context,
    id: Id,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="file to write; default: ID.zip")] = None,
    format: Annotated[
        str | None, typer.Option("--format", "-f", help="zip, zarr.zip or nc; default: the ending of --out")
    ] = None,
    as_json: Json = False,
) -> None:
    """Save everything to cite and to reproduce a job or a sweep in one file."""
    with exits(as_json):
        path = find(context.obj, id).export(out or Path(f"{id}.{format or 'zip'}"), format)
    write_json({"id": id, "path": str(path), "bytes": path.stat().st_size}) if as_json else print(path)


def label(
    context: typer.Context,
    id: Id,
    name: Annotated[str | None, typer.Option(help="name; empty removes it")] = None,
    text: Annotated[str | None, typer.Option("--note", help="note; empty removes it")] = None,
    star: Annotated[bool | None, typer.Option("--star/--no-star", help="set or remove the star")] = None,
    tag: Annotated[list[str] | None, typer.Option("--tag", help="KEY=VALUE, in place of all tags, repeatable")] = None,
    as_json: Json = False,
) -> None:
    """Change the name, the note, the star or the tags of a job or a sweep."""
    given: dict[str, Any] = {}
    given |= {} if name is None else {"name": name or None}
    given |= {} if text is None else {"note": text or None}
    given |= {} if star is None else {"starred": star}
    with exits(as_json):
        if tag:
            given["tags"] = specs.tags(tag)
        changed = find(context.obj, id).update(**given).as_dict()
    shown = {key: changed[key] for key in ("id", "name", "note", "starred", "tags")}
    write_json(shown) if as_json else write_table(("key", "value"), list(shown.items()))


def reproduce(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="a zip of `leym export`")],
    timeout: Annotated[float | None, typer.Option(help="seconds to wait for each job at most")] = None,
    as_json: Json = False,
) -> None:
    """Compute the job of an exported file on this service and compare every bit; exit code 1 if any differs.

    The same batch size, kernel and kind of device give the same bits. Laws that the service lacks are added to it.
    """
    from leym.client.reproduce import reproduce as reproduce_file

    with exits(as_json):
        found = reproduce_file(context.obj, file, timeout)
    if as_json:
        arrays = [vars(one) | {"identical": one.identical} for one in found.arrays]
        facts = {"job": found.job.id, "original": found.original, "identical": found.identical, "laws": found.laws}
        write_json(facts | {"arrays": arrays})
    else:
        note(f"job {found.job.id} computes {found.original} again")
        columns = ("name", "frames", "identical", "differs from step", "largest difference", "sha256")
        rows = [(c.name, c.frames, c.identical, c.differs_from, c.largest, c.digests[0][:16]) for c in found.arrays]
        write_table(columns, rows)
    if not found.identical:
        raise typer.Exit(FAILED)


def register(app: typer.Typer) -> None:
    """Add these commands to the application."""
    for command in (share, links, export, label, reproduce):
        app.command()(command)
