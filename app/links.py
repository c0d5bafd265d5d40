"""Signed, expiring links: whoever has one may read one job's results, and nothing else."""

from __future__ import annotations

import hashlib
import secrets
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from itsdangerous import BadSignature, URLSafeSerializer

from leym.common.files import atomic_file
from leym.contract.problems import Problem
from leym.settings import Settings

KEY_FILE = "link-key"
DAY_S = 86400


def sign(settings: Settings, job: str, project: str, until: float) -> str:
    """A part of a URL that proves leave to read this job until then (seconds since 1970)."""
    return str(_signer(settings).dumps([job, project, int(until)]))


def verify(settings: Settings, link: str, now: float) -> tuple[str, str]:
    """The job and its project. Raises Problem 403 (not ours) or 410 (its time is over)."""
    try:
        job, project, until = _signer(settings).loads(link)
    except (BadSignature, ValueError, TypeError) as error:
        raise Problem(403, "Forbidden", "this link was not given out by this service") from error
    if now >= until:
        raise Problem(410, "Gone", "this link has expired")
    return str(job), str(project)


def _signer(settings: Settings) -> URLSafeSerializer:
    key = settings.link_key or _kept_key(str(settings.data))
    return URLSafeSerializer(key, salt="leym-link", signer_kwargs={"digest_method": hashlib.sha256})


@lru_cache
def _kept_key(folder: str) -> str:
    """Made by whichever process needs it first; readable by its owner only."""
    path = Path(folder, KEY_FILE)
    if not path.exists():
        with suppress(FileExistsError):  # another process was first: its key counts
            with atomic_file(path, mode=0o600, durable=True, replace=False) as file:
                file.write(secrets.token_urlsafe(32).encode())
    return path.read_text().strip()
