"""Who may do what: tokens with scopes, each in one project. Only a digest of a token is ever stored.

A token is `leym_<id>_<secret>`: the id finds its row, the secret (256 random bits) proves it.
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
    """Whoever sent a request."""

    project: str
    scopes: frozenset[str]
    token: str | None = None  # the id of its token; None when the service is open

    def may(self, scope: str) -> bool:
        return scope in self.scopes


EVERYONE = Caller(DEFAULT, frozenset(SCOPES))


def mint() -> tuple[str, str, str]:
    """A new token: its id, the whole of it (shown once), and the digest to be stored."""
    id = "".join(secrets.choice("0123456789abcdefghijklmnopqrstuvwxyz") for _ in range(12))
    token = f"leym_{id}_{secrets.token_urlsafe(32)}"
    return id, token, digest_of(token)


def id_of(token: str) -> str | None:
    """The id in what claims to be a token; None when it is none."""
    found = _TOKEN.fullmatch(token)
    return found[1] if found else None


def digest_of(token: str) -> str:
    """sha256, 64 hex digits. The secret has 256 random bits, so nothing slower is needed."""
    return hashlib.sha256(token.encode()).hexdigest()


def proves(token: str, digest: str) -> bool:
    """In constant time."""
    return hmac.compare_digest(digest_of(token), digest)
