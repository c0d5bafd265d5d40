"""`leym tokens create|list|revoke|take-over`: for whoever may read and write the job table of this machine."""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from leym.common.printable import printable
from leym.common.typed_numbers import real
from leym.contract.identity import DEFAULT, SCOPES, id_of
from leym.contract.problems import Problem
from leym.jobs.table import JobTable, open_table
from leym.jobs.tokens import LONGEST_TTL_S, Token
from leym.laws.registry import project_laws_folder
from leym.laws.versions import add_copy, version_folders
from leym.settings import settings

DAY_S = 86400.0
LAST_DAY = datetime(9999, 12, 31, tzinfo=UTC).timestamp()


def main() -> None:
    options = argparse.ArgumentParser(prog="leym tokens", description=__doc__)
    options.add_argument("--json", action="store_true", help="one JSON document on stdout")
    commands = options.add_subparsers(dest="command", required=True)
    create = commands.add_parser("create", help="make a token and print it, once")
    create.add_argument("name", help="whose it is, or what for")
    create.add_argument("--project", default=DEFAULT)
    scopes = "; ".join(f"{name}: {what}" for name, what in SCOPES.items())
    create.add_argument("--scopes", nargs="+", default=["submit", "read", "cancel", "laws"], help=scopes)
    create.add_argument("--days", type=real(0.001, LONGEST_TTL_S / DAY_S), help="until it expires; without it, never")
    commands.add_parser("list", help="all tokens; their secrets are stored nowhere")
    revoke = commands.add_parser("revoke", help="refuse a token from now on")
    revoke.add_argument("id", help="of a token, or the token itself")
    take_over = commands.add_parser(
        "take-over", help="move all jobs, sweeps and laws of a project into another, e.g. what was made without tokens"
    )
    take_over.add_argument("project", help="whose they are from now on")
    take_over.add_argument("--of", default=DEFAULT, metavar="PROJECT", help=f"whose they were [{DEFAULT}]")
    chosen = options.parse_args()
    table = open_table(settings())
    try:
        if chosen.command == "create":
            ttl_s = None if chosen.days is None else chosen.days * DAY_S
            made, token = table.create_token(chosen.name, chosen.scopes, chosen.project, ttl_s=ttl_s)
            print(json.dumps(asdict(made) | {"token": token}) if chosen.json else token)
            _note_closed_work(table, made)
        elif chosen.command == "list":
            found = table.list_tokens()
            print(json.dumps([asdict(token) for token in found])) if chosen.json else _show(found)
        elif chosen.command == "take-over":
            laws = _copy_laws(settings().data, chosen.of, chosen.project)
            jobs, sweeps = table.take_over(chosen.of, chosen.project)
            moved = {"jobs": jobs, "sweeps": sweeps, "laws": laws}
            print(json.dumps(moved) if chosen.json else f"moved {jobs} jobs and {sweeps} sweeps, copied {laws} laws")
        else:
            given = chosen.id.strip()
            if given.startswith("leym_") and id_of(given) is None:
                sys.exit("leym tokens: this is a part of a token and not shown; `leym tokens list` has the ids")
            table.revoke_token(id_of(given) or given)
    except Problem as problem:
        sys.exit(f"leym tokens: {problem.detail}")
    finally:
        table.close()


def _note_closed_work(table: JobTable, made: Token) -> None:
    """Say where the work is that was made without tokens, when no token opens its project."""
    now = time.time()
    if any(token.project == DEFAULT and token.is_good(now) for token in table.list_tokens()):
        return
    jobs, sweeps = table.count_work(DEFAULT)
    if jobs or sweeps:
        print(
            f"leym tokens: {jobs} jobs and {sweeps} sweeps that were made without a token are in the project {DEFAULT},"
            f" which no token opens. `leym tokens take-over {made.project}` moves them into {made.project};"
            f" `leym tokens create NAME --project {DEFAULT}` makes a token for where they are.",
            file=sys.stderr,
        )


def _copy_laws(data: Path, source: str, target: str) -> int:
    """Put the laws that `source` has added where `target` has its own; laws that are there already stay."""
    return sum(
        add_copy(project_laws_folder(target, data), place)[1]
        for place in version_folders(project_laws_folder(source, data))
    )


def _show(found: list[Token]) -> None:
    for token in found:
        state = "revoked" if token.revoked_at else f"until {_day(token.expires_at)}" if token.expires_at else "good"
        print(f"{token.id}  {token.project}  {','.join(token.scopes)}  {state}  {printable(token.name)}")


def _day(seconds: float) -> str:
    """The day in UTC; the last one that the calendar has for tokens that older versions made to last longer."""
    return datetime.fromtimestamp(min(seconds, LAST_DAY), UTC).strftime("%Y-%m-%d")


if __name__ == "__main__":
    main()
