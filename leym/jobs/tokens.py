"""Tokens in the job table: creating, finding, listing and revoking them."""

from __future__ import annotations

import re
import time
from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Row, insert, select, update

from leym.common.printable import printable
from leym.contract import identity
from leym.contract.identity import Caller
from leym.contract.problems import invalid, not_found
from leym.jobs.queries import Base
from leym.jobs.schema import tokens

LONGEST_TTL_S = 3650 * 86400.0  # ten years, the same as for results
_ANY = select(tokens.c.id).limit(1)  # a constant, because every request without a token executes it


@dataclass(frozen=True)
class Token:
    """The public part of a token. Times are seconds since 1970."""

    id: str
    name: str
    project: str
    scopes: tuple[str, ...]
    created_at: float
    expires_at: float | None
    revoked_at: float | None

    def is_good(self, now: float) -> bool:
        """Return True if the token is neither revoked nor expired."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


class Tokens(Base):
    """Tokens of all projects."""

    def create_token(
        self,
        name: str,
        scopes: Collection[str],
        project: str = identity.DEFAULT,
        *,
        ttl_s: float | None = None,
        now: float | None = None,
    ) -> tuple[Token, str]:
        """Create a token. Returns its record and the token itself, which cannot be shown again.

        Raises:
            Problem: 422 for an unknown scope or an invalid project, name or `ttl_s`.
        """
        now = time.time() if now is None else now
        for scope in scopes:
            if scope not in identity.SCOPES:
                raise invalid(f"scopes = {scope!r}: known are {', '.join(identity.SCOPES)}", "/scopes")
        if not scopes:
            raise invalid(f"scopes are required: some of {', '.join(identity.SCOPES)}", "/scopes")
        if not re.fullmatch(identity.PROJECT, project):
            raise invalid(f"project = {project[:80]!r}: it must match {identity.PROJECT}", "/project")
        if not 1 <= len(name) <= 200:
            raise invalid(f"name has {len(name)} characters; 1 to 200 are allowed", "/name")
        if printable(name) != name:
            raise invalid(f"name = {printable(name)}: control characters are not allowed", "/name")
        if ttl_s is not None and not 0 < ttl_s <= LONGEST_TTL_S:
            raise invalid(
                f"ttl_s = {ttl_s:g}: more than 0 and at most {LONGEST_TTL_S:.0f} seconds are allowed", "/ttl_s"
            )
        id, token, digest = identity.mint()
        until = None if ttl_s is None else now + ttl_s
        row = {"id": id, "digest": digest, "name": name, "project": project, "created_at": now, "expires_at": until}
        with self.db.write() as connection:
            connection.execute(insert(tokens), row | {"scopes": " ".join(sorted(set(scopes)))})
        return Token(id, name, project, tuple(sorted(set(scopes))), now, until, None), token

    def caller(self, token: str, now: float | None = None) -> Caller | None:
        """Return the caller that a token identifies; None if the token is unknown, expired or revoked."""
        now = time.time() if now is None else now
        id = identity.id_of(token)
        if id is None:
            return None
        with self.db.read() as connection:
            row = connection.execute(select(tokens).where(tokens.c.id == id)).first()
        if row is None or not identity.matches(token, row.digest) or not _token(row).is_good(now):
            return None
        return Caller(row.project, frozenset(row.scopes.split()), id)

    def has_tokens(self) -> bool:
        """Return True if a token was ever created; before that, the service is open to everyone."""
        with self.db.read() as connection:
            return connection.execute(_ANY).first() is not None

    def list_tokens(self) -> list[Token]:
        """Return all tokens, oldest first, revoked ones included."""
        with self.db.read() as connection:
            return [_token(row) for row in connection.execute(select(tokens).order_by(tokens.c.created_at))]

    def revoke_token(self, id: str, now: float | None = None) -> None:
        """Revoke a token.

        Raises:
            Problem: 404 if there is no such token.
        """
        now = time.time() if now is None else now
        with self.db.write() as connection:
            first = (tokens.c.id == id, tokens.c.revoked_at.is_(None))
            changed = connection.execute(update(tokens).where(*first).values(revoked_at=now)).rowcount
            if not changed and connection.execute(select(tokens.c.id).where(tokens.c.id == id)).first() is None:
                raise not_found("token", id)


def _token(row: Row[tuple[object, ...]]) -> Token:
    scopes = tuple(row.scopes.split())
    return Token(row.id, row.name, row.project, scopes, row.created_at, row.expires_at, row.revoked_at)
