"""Tokens with scopes, and the callers that they identify. Each token belongs to one project.

A token is `leym_<id>_<secret>`. The id finds the row of the token, and the secret (256 random bits) proves possession.
Only a digest of the token is ever stored.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass

DEFAULT = "default"  # the project of a service without tokens
PROJECT = r"^[a-z0-9][a-z0-9-]{0,62}$"
SCOPES = {
    "submit": "submit jobs, sweeps, judgements and start states",
    "read": "see jobs, frames, events, laws and the queue",
    "cancel": "cancel jobs and remove their results",
    "laws": "add and remove laws",
    "admin": "metrics and workers of the whole service",
}
_TOKEN = re.compile(r"leym_([a-z0-9]{12})_([A-Za-z0-9_-]{43})")


@dataclass(frozen=True)
class Caller:
    """The sender of a request: a project and the scopes granted to it."""

    project: str
    scopes: frozenset[str]
    token: str | None = None  # id of the token; None if the service has no tokens and is open to everyone

    def may(self, scope: str) -> bool:
        """Return True if the caller has the scope."""
        return scope in self.scopes


EVERYONE = Caller(DEFAULT, frozenset(SCOPES))


def mint() -> tuple[str, str, str]:
    """Create a token. Returns its id, the token itself (which is shown once) and the digest to store."""
    id = "".join(secrets.choice("0123456789abcdefghijklmnopqrstuvwxyz") for _ in range(12))
    token = f"leym_{id}_{secrets.token_urlsafe(32)}"
    return id, token, digest_of(token)


def id_of(token: str) -> str | None:
    """Return the id part of a token, or None if the text does not have the form of a token."""
    found = _TOKEN.fullmatch(token)
    return found[1] if found else None


def digest_of(token: str) -> str:
    """Return the SHA-256 of a token in hex. A slow hash is unnecessary, because the secret has 256 random bits."""
    return hashlib.sha256(token.encode()).hexdigest()


def matches(token: str, digest: str) -> bool:
    """Compare a token with a stored digest in constant time."""
    return hmac.compare_digest(digest_of(token), digest)
