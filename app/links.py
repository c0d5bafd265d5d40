"""Signs and verifies shared links. A link lets its holder read the results of one job until it expires."""

from __future__ import annotations

import hashlib
import os
import secrets
from functools import lru_cache

from itsdangerous import BadSignature, URLSafeSerializer

from leym.contract.problems import Problem
from leym.settings import Settings

KEY_FILE = "link-key"


def sign(settings: Settings, job: str, project: str, until: float) -> str:
    """Return a URL segment that permits reading the results of a job.

    Args:
        settings: Settings with the signing key, or with the folder that contains it.
        job: The job's id.
        project: The job's project.
        until: When the link expires, in seconds since 1970.
    """
    return str(_signer(settings).dumps([job, project, int(until)]))


def verify(settings: Settings, link: str, now: float) -> tuple[str, str]:
    """Return the job and the project of a link.

    Raises:
        Problem: 403 if this service did not sign it, 410 if it has expired.
    """
    try:
        job, project, until = _signer(settings).loads(link)
    except (BadSignature, ValueError, TypeError) as error:
        raise Problem(403, "Forbidden", "this service did not issue this link") from error
    if now >= until:
        raise Problem(410, "Gone", "this link has expired")
    return str(job), str(project)


def _signer(settings: Settings) -> URLSafeSerializer:
    key = settings.link_key or _stored_key(str(settings.data))
    return URLSafeSerializer(key, salt="leym-link", signer_kwargs={"digest_method": hashlib.sha256})


@lru_cache
def _stored_key(folder: str) -> str:
    """Return the key in the data folder. The first process that needs it creates it, readable by its owner only."""
    path = os.path.join(folder, KEY_FILE)
    new = f"{path}.{secrets.token_hex(8)}"
    if not os.path.exists(path):
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(32))
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(new, path)  # unlike a rename, this fails if another process was first, whose key then counts
        except FileExistsError:
            pass
        finally:
            os.unlink(new)
    with open(path) as file:
        return file.read().strip()
