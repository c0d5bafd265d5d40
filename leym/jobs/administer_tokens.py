"""`leym tokens create|list|revoke`: for whoever may read and write the job table, on the machine that holds it."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from datetime import UTC, datetime

from leym.identity import DEFAULT, SCOPES, id_of
from leym.jobs.table import open_table
from leym.jobs.tokens import Token
from leym.problems import Problem
from leym.settings import settings

DAY_S = 86400.0


def main() -> None:
    options = argparse.ArgumentParser(prog="leym tokens", description=__doc__)
    options.add_argument("--json", action="store_true", help="one JSON document on stdout")
    commands = options.add_subparsers(dest="command", required=True)
    create = commands.add_parser("create", help="make a token and print it, once")
    create.add_argument("name", help="whose it is, or what for")
    create.add_argument("--project", default=DEFAULT)
    scopes = "; ".join(f"{name}: {what}" for name, what in SCOPES.items())
    create.add_argument("--scopes", nargs="+", default=["submit", "read", "cancel", "laws"], help=scopes)
    create.add_argument("--days", type=float, help="until it expires; without it, never")
    commands.add_parser("list", help="all tokens; their secrets are stored nowhere")
    revoke = commands.add_parser("revoke", help="refuse a token from now on")
    revoke.add_argument("id", help="of a token, or the token itself")
    chosen = options.parse_args()
    table = open_table(settings())
    try:
        if chosen.command == "create":
            ttl_s = None if chosen.days is None else chosen.days * DAY_S
            made, token = table.create_token(chosen.name, chosen.scopes, chosen.project, ttl_s=ttl_s)
            print(json.dumps(asdict(made) | {"token": token}) if chosen.json else token)
        elif chosen.command == "list":
            found = table.list_tokens()
            print(json.dumps([asdict(token) for token in found])) if chosen.json else _show(found)
        else:
            given = chosen.id.strip()
            if given.startswith("leym_") and id_of(given) is None:
                sys.exit("leym tokens: this is a part of a token and not shown; `leym tokens list` has the ids")
            table.revoke_token(id_of(given) or given)
    except Problem as problem:
        sys.exit(f"leym tokens: {problem.detail}")
    finally:
        table.close()


def _show(found: list[Token]) -> None:
    for token in found:
        state = "revoked" if token.revoked_at else f"until {_day(token.expires_at)}" if token.expires_at else "good"
        print(f"{token.id}  {token.project}  {','.join(token.scopes)}  {state}  {token.name}")


def _day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d")


if __name__ == "__main__":
    main()
