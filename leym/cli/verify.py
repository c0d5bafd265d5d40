"""`leym verify`: run a job again and compare the results bit by bit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from leym.cli.completion import jobs
from leym.cli.jobs import Json
from leym.cli.output import FAILED, exits, note, write_json, write_table

if TYPE_CHECKING:
    from leym.client import Client


def verify(
    context: typer.Context,
    id: Annotated[str, typer.Argument(metavar="ID", help="a job that succeeded", autocompletion=jobs)],
    timeout: Annotated[
        float | None, typer.Option(help="seconds to wait for the second run at most; then exit code 1")
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="do not delete the second job")] = False,
    as_json: Json = False,
) -> None:
    """Run a job again and compare every bit of the results; exit code 1 if any differs.

    The same batch size, kernel and kind of device give the same bits; those of both runs are shown.
    """
    from leym.client.verify import compare

    client: Client = context.obj
    with exits(as_json):
        first = client.job(id).check()
        if not first.done:
            raise ValueError(f"job {id} is {first.state}; only a job that has succeeded can be verified")
        if not (first.spec.get("record") or first.spec.get("observe")):
            raise ValueError(f"job {id} recorded nothing: there is nothing to compare")
        exact = {"law": first.law, "precision": first.as_dict()["precision"], "tags": {"verifies": id}}
        left_out = ("webhook", "reuse")  # earlier versions stored a webhook; `reuse` would return the first job
        again = {key: value for key, value in first.spec.items() if value is not None and key not in left_out}
        second = client.submit(**again | exact)
        try:
            found = compare(first, second.wait(timeout))
            by: dict[str, list[dict[str, Any]]] = {"first": first.list_segments(), "second": second.list_segments()}
        finally:
            if not keep:
                second.refresh().cancel()
                second.delete()
    identical = all(one.identical for one in found)
    if as_json:
        shown = [vars(one) | {"identical": one.identical} for one in found]
        write_json({"job": id, "again": second.id, "identical": identical, "arrays": shown, "computed_by": by})
    else:
        columns = ("name", "frames", "identical", "differs from step", "largest difference", "sha256")
        rows = [(c.name, c.frames, c.identical, c.differs_from, c.largest, c.digests[0][:16]) for c in found]
        write_table(columns, rows)
        for run, segments in by.items():
            for segment in segments:
                facts = {**segment, **segment.get("versions", {})}
                note(f"{run}: " + ", ".join(f"{key} {value}" for key, value in facts.items() if key != "versions"))
    if not identical:
        raise typer.Exit(FAILED)


def register(app: typer.Typer) -> None:
    """Add this command to the application."""
    app.command()(verify)
