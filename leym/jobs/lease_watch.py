"""Watches over leases: which of them were not renewed for their length, by this process's own steady clock."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from leym.jobs.leases import Lease


class LeaseWatch:
    """Shown the leases again and again, it knows which have stood still for `lease_s` seconds since it saw them first.

    No wall clock is read, so neither a clock that jumps nor one that differs between hosts takes a job from its worker
    or keeps it for a dead one. For one thread.
    """

    def __init__(self, lease_s: float, clock: Callable[[], float] = time.monotonic):
        self._lease_s, self._clock = lease_s, clock
        self._seen: dict[str, tuple[Lease, float]] = {}

    def silent(self, leases: Mapping[str, Lease]) -> dict[str, Lease]:
        now = self._clock()
        before, self._seen = self._seen, {}
        for job, lease in leases.items():
            known = before.get(job)
            self._seen[job] = known if known and known[0] == lease else (lease, now)
        return {job: lease for job, (lease, since) in self._seen.items() if now - since >= self._lease_s}
