"""`leym tokens create|list|revoke`: for whoever may read and write the job table, on the machine that holds it."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from datetime import UTC, datetime

from leym.identity import DEFAULT, SCOPES
from leym.jobs.table import JobTable
from leym.jobs.tokens import LONGEST_TTL_S, Token
from leym.printable import printable
from leym.problems import Problem
from leym.settings import Settings
from leym.typed_numbers import real

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
    revoke.add_argument("id")
    chosen = options.parse_args()
    configured = Settings()
    configured.data.mkdir(parents=True, exist_ok=True)
    table = JobTable(configured.database)
    try:
        if chosen.command == "create":
            ttl_s = None if chosen.days is None else chosen.days * DAY_S
            made, token = table.create_token(chosen.name, chosen.scopes, chosen.project, ttl_s=ttl_s)
            print(json.dumps(asdict(made) | {"token": token}) if chosen.json else token)
        elif chosen.command == "list":
            found = table.list_tokens()
            print(json.dumps([asdict(token) for token in found])) if chosen.json else _show(found)
        else:
            table.revoke_token(chosen.id)
    except Problem as problem:
        sys.exit(f"leym tokens: {problem.detail}")
    finally:
        table.close()


def _show(found: list[Token]) -> None:
    for token in found:
        state = "revoked" if token.revoked_at else f"until {_day(token.expires_at)}" if token.expires_at else "good"
        print(f"{token.id}  {token.project}  {','.join(token.scopes)}  {state}  {printable(token.name)}")


def _day(seconds: float) -> str:
    """The day in UTC; the last one that the calendar has for tokens that older versions made to last longer."""
    return datetime.fromtimestamp(min(seconds, LAST_DAY), UTC).strftime("%Y-%m-%d")


if __name__ == "__main__":
    main()
