"""Create, list and revoke tokens; for those who may read and write the job table of this machine."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from leym.cli.output import FAILED, note
from leym.cli.variadic import VariadicCommand
from leym.common.printable import printable
from leym.common.typed_numbers import real
from leym.contract.identity import DEFAULT, SCOPES, id_of
from leym.contract.problems import Problem
from leym.jobs.table import JobTable, open_table
from leym.jobs.tokens import LONGEST_TTL_S, Token
from leym.laws.registry import project_laws_folder
from leym.laws.versions import add_copy, law_folders, version_folders
from leym.settings import settings

DAY_S = 86400.0
LAST_DAY = datetime(9999, 12, 31, tzinfo=UTC).timestamp()
DEFAULT_SCOPES = ["submit", "read", "cancel", "laws"]
SCOPES_HELP = "; ".join(f"{name}: {what}" for name, what in SCOPES.items())


app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__)
Id = Annotated[str, typer.Argument(metavar="ID", help="id of a token, or the token itself")]


@app.callback()
def tokens(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON document on stdout")] = False,
) -> None:
    """Pass --json on to the commands."""
    context.obj = as_json


@app.command(cls=VariadicCommand)
def create(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="person or purpose that the token is for")],
    project: Annotated[str, typer.Option(help="project that the token opens")] = DEFAULT,
    scopes: Annotated[list[str], typer.Option(metavar="SCOPE ...", help=SCOPES_HELP)] = DEFAULT_SCOPES,
    days: Annotated[
        float | None,
        typer.Option(parser=real(0.001, LONGEST_TTL_S / DAY_S), help="days until it expires; default: never"),
    ] = None,
) -> None:
    """Make a token and print it, once."""
    with _job_table() as table:
        ttl_s = None if days is None else days * DAY_S
        made, token = table.create_token(name, scopes, project, ttl_s=ttl_s)
        print(json.dumps(asdict(made) | {"token": token}) if context.obj else token)
        _note_closed_work(table, made)


@app.command("list")
def list_tokens(context: typer.Context) -> None:
    """List all tokens; their secrets are stored nowhere."""
    with _job_table() as table:
        found = table.list_tokens()
        print(json.dumps([asdict(token) for token in found])) if context.obj else _show(found)


@app.command()
def revoke(id: Id) -> None:
    """Refuse a token from now on."""
    given = id.strip()
    if given.startswith("leym_") and id_of(given) is None:
        note("leym tokens: this is a part of a token and not shown; `leym tokens list` has the ids")
        raise typer.Exit(FAILED)
    with _job_table() as table:
        table.revoke_token(id_of(given) or given)


@app.command("take-over")
def take_over(
    context: typer.Context,
    project: Annotated[str, typer.Argument(help="project that they move into")],
    source: Annotated[str, typer.Option("--of", metavar="PROJECT", help="project that they move out of")] = DEFAULT,
) -> None:
    """Move all jobs, sweeps and laws of a project into another one, for example those made without tokens."""
    with _job_table() as table:
        laws = _copy_laws(settings().data, source, project)
        jobs, sweeps = table.take_over(source, project)
        moved = {"jobs": jobs, "sweeps": sweeps, "laws": laws}
        print(json.dumps(moved) if context.obj else f"moved {jobs} jobs and {sweeps} sweeps, copied {laws} laws")


@contextmanager
def _job_table() -> Iterator[JobTable]:
    """Open the job table; a problem ends the command with a note."""
    table = open_table(settings())
    try:
        yield table
    except Problem as problem:
        note(f"leym tokens: {problem.detail}")
        raise typer.Exit(FAILED) from problem
    finally:
        table.close()


def _note_closed_work(table: JobTable, made: Token) -> None:
    """Say where the jobs and sweeps are that were made without tokens, if no token opens their project."""
    now = time.time()
    if any(token.project == DEFAULT and token.is_good(now) for token in table.list_tokens()):
        return
    jobs, sweeps = table.count_work(DEFAULT)
    if jobs or sweeps:
        note(
            f"leym tokens: {jobs} jobs and {sweeps} sweeps that were made without a token are in the project {DEFAULT},"
            f" which no token opens. `leym tokens take-over {made.project}` moves them into {made.project};"
            f" `leym tokens create NAME --project {DEFAULT}` makes a token that opens {DEFAULT}."
        )


def _copy_laws(data: Path, source: str, target: str) -> int:
    """Copy the laws added by the project `source` into the project `target`, and return how many were new to it."""
    return sum(
        add_copy(project_laws_folder(target, data), place)[1]
        for home in law_folders(project_laws_folder(source, data))
        for place in version_folders(home)
    )


def _show(found: list[Token]) -> None:
    for token in found:
        state = "revoked" if token.revoked_at else f"until {_day(token.expires_at)}" if token.expires_at else "good"
        print(f"{token.id}  {token.project}  {','.join(token.scopes)}  {state}  {printable(token.name)}")


def _day(seconds: float) -> str:
    """Write the day in UTC; a time beyond the calendar, as older versions allowed, becomes its last day."""
    return datetime.fromtimestamp(min(seconds, LAST_DAY), UTC).strftime("%Y-%m-%d")
