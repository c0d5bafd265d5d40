"""Signs and verifies shared links. A link lets its holder read one job or sweep until it expires or is revoked."""

from __future__ import annotations

import hashlib
import secrets
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from itsdangerous import BadSignature, URLSafeSerializer

from leym.common.files import atomic_file
from leym.contract.problems import Problem
from leym.settings import Settings

KEY_FILE = "link-key"


@dataclass(frozen=True)
class Scope:
    """Names what a link gives access to.

    Attributes:
        kind: "job" or "sweep".
        subject: Id of the job or sweep.
        project: Its project.
        until: When the link expires, in seconds since 1970.
        id: Id of the link's row; None for a link of version 0.1.0, which has none.
    """

    kind: str
    subject: str
    project: str
    until: int
    id: str | None = None


def sign(settings: Settings, scope: Scope) -> str:
    """Return a URL segment that permits reading what is in a scope.

    Args:
        settings: Settings with the signing key, or with the folder that contains it.
        scope: The scope.
    """
    return str(_signer(settings).dumps([scope.kind, scope.subject, scope.project, scope.until, scope.id]))


def verify(settings: Settings, link: str, now: float) -> Scope:
    """Return the scope of a link. Whether it was revoked is for the job table to say.

    Raises:
        Problem: 403 if this service did not sign it, 410 if it has expired.
    """
    try:
        found = _signer(settings).loads(link)
        scope = Scope("job", *found) if len(found) == 3 else Scope(*found)  # version 0.1.0: job, project, until
    except (BadSignature, ValueError, TypeError) as error:
        raise Problem(403, "Forbidden", "this service did not issue this link") from error
    if now >= scope.until:
        raise Problem(410, "Gone", "this link has expired")
    return scope


def _signer(settings: Settings) -> URLSafeSerializer:
    key = settings.link_key or _stored_key(str(settings.data))
    return URLSafeSerializer(key, salt="leym-link", signer_kwargs={"digest_method": hashlib.sha256})


@lru_cache
def _stored_key(folder: str) -> str:
    """Return the key in the data folder. The first process that needs it creates it, readable by its owner only."""
    path = Path(folder, KEY_FILE)
    if not path.exists():
        with suppress(FileExistsError):  # another process was first, and its key counts
            with atomic_file(path, mode=0o600, durable=True, replace=False) as file:
                file.write(secrets.token_urlsafe(32).encode())
    return path.read_text().strip()
