"""Refuses submissions while the disk is nearly full, so that running jobs have room to finish.

This concerns stores of files only: an object store has limits of its own. Each process checks at every submission.
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

RETRY_AFTER_S = 60  # results expire and people free space in minutes rather than seconds


@dataclass
class DiskGuard:
    """Compares the free bytes in the store's folder with LEYM_DISK_FREE_MIN. Thread-safe."""

    settings: Settings
    _short: bool = field(default=False, repr=False)

    def free_bytes(self) -> int | None:
        """Return the number of bytes that this user may still write, or None for a store that is not a folder."""
        folder = folder_of(self.settings.store)
        return None if folder is None else shutil.disk_usage(folder).free

    def state(self) -> dict[str, Any]:
        """Return the `storage` of `GET /v1/queue`, and log when it changes between enough and too little space."""
        free, minimum = self.free_bytes(), self.settings.disk_free_min
        short = free is not None and free < minimum
        if short != self._short:
            self._short = short
            if short:
                log.warning("%d bytes are free, below LEYM_DISK_FREE_MIN = %d: refusing submissions", free, minimum)
            else:
                log.info("%s bytes are free, LEYM_DISK_FREE_MIN = %d: accepting submissions again", free, minimum)
        return {"free_bytes": free, "free_min_bytes": minimum, "admits": not short}

    def check(self) -> None:
        """Raise Problem 507 if too few bytes are free."""
        found = self.state()
        if not found["admits"]:
            detail = f"{found['free_bytes']} bytes are free for results, below the minimum of {found['free_min_bytes']}"
            advice = "Delete jobs, or wait until results expire"
            raise Problem(507, "Insufficient storage", f"{detail}. {advice}", retry_after_s=RETRY_AFTER_S)
