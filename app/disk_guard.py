"""The disk guard: it stops taking in before writing stops, so that running jobs have room to end.

Only for a store of files: a bucket has bounds of its own. Each process looks for itself, at every submission.
"""

from __future__ import annotations

import logging
import shutil
from dataclasses import dataclass, field
from typing import Any

from leym.contract.problems import Problem
from leym.frames.stores.open import folder_of
from leym.settings import Settings

log = logging.getLogger(__name__)

RETRY_AFTER_S = 60  # results expire, and people make room, in minutes rather than seconds


@dataclass
class DiskGuard:
    """free_bytes of the store's folder against the bound LEYM_DISK_FREE_MIN. Safe to share between threads."""

    settings: Settings
    _short: bool = field(default=False, repr=False)

    def free_bytes(self) -> int | None:
        """What this user may still write there; None for a store that is no folder."""
        folder = folder_of(self.settings.store)
        return None if folder is None else shutil.disk_usage(folder).free

    def state(self) -> dict[str, Any]:
        """As `GET /v1/queue` shows it. A change is said in the log, once."""
        free, bound = self.free_bytes(), self.settings.disk_free_min
        short = free is not None and free < bound
        if short != self._short:
            self._short = short
            if short:
                log.warning("%d bytes are free, under LEYM_DISK_FREE_MIN = %d: submissions are refused", free, bound)
            else:
                log.info("%s bytes are free again, LEYM_DISK_FREE_MIN = %d: submissions are taken", free, bound)
        return {"free_bytes": free, "free_min_bytes": bound, "admits": not short}

    def check(self) -> None:
        """Raises Problem 507."""
        found = self.state()
        if not found["admits"]:
            detail = f"{found['free_bytes']} bytes are free for results; with less than {found['free_min_bytes']}"
            advice = "nothing new is taken in. Delete jobs, or wait until results expire"
            raise Problem(507, "Insufficient storage", f"{detail} {advice}", retry_after_s=RETRY_AFTER_S)
