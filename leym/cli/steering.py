"""`leym intervene`: change a universe while it runs, or list what has changed it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from leym.cli import specs
from leym.cli.completion import JobId
from leym.cli.jobs import Json
from leym.cli.output import exits, write_json, write_table

if TYPE_CHECKING:
    from leym.client import Job

KINDS = "vortex, wave, noise, collapse, set, paint or gamma"


def intervene(
    context: typer.Context,
    id: JobId,
    kind: Annotated[str | None, typer.Argument(help=f"{KINDS}; without one, list the interventions")] = None,
    keys: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE...]", help="y=32 x=32 radius=8, region=disc:32,32,8"),
    ] = None,
    at: Annotated[int | None, typer.Option(help="step at which it acts; default: as soon as possible")] = None,
    as_json: Json = False,
) -> None:
    """Change the state or gamma of a job that waits or runs.

    The keys of each kind are those of `interventions` in a JobSpec: vortex y, x, radius, charge; wave ky, kx; noise
    strength; collapse to; set vector or state; paint y, x, radius, and channel, phase or vector; gamma value. Wave,
    noise, collapse and set take a region.
    """
    with exits(as_json):
        from leym.client.requests import change_body

        job: Job = context.obj.job(id)
        change = specs.change_keys(keys or [])
        found = job.interventions() if kind is None else [job._intervene(change_body(kind, at, change))]
    if as_json:
        write_json(found if kind is None else found[0])
        return
    write_table(("number", "state", "step", "kind", "keys"), (_row(one) for one in found))


def _row(one: dict[str, Any]) -> tuple[Any, ...]:
    asked = {key: value for key, value in one["intervention"].items() if value is not None}
    kind, step = asked.pop("kind"), asked.pop("step", None)
    shown = " ".join(f"{key}={json.dumps(value)}" for key, value in asked.items())
    return one["number"], one["state"], one["step"] if one["step"] is not None else step, kind, shown


def register(app: typer.Typer) -> None:
    """Add this command to the application."""
    app.command()(intervene)
