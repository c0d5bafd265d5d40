"""Detection of leases that are no longer renewed, by the monotonic clock of this process."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from leym.jobs.leases import Lease


class LeaseWatch:
    """Compares successive snapshots of the leases, and finds those that did not change for `lease_s` seconds.

    It reads no wall clock. So a clock that jumps, or that differs between hosts, neither takes a job from a worker nor
    keeps it for a dead one. Not thread-safe.
    """

    def __init__(self, lease_s: float, clock: Callable[[], float] = time.monotonic):
        self._lease_s, self._clock = lease_s, clock
        self._seen: dict[str, tuple[Lease, float]] = {}

    def lapsed(self, leases: Mapping[str, Lease]) -> dict[str, Lease]:
        """Take the next snapshot of all leases, and return those that have lapsed."""
        now = self._clock()
        before, self._seen = self._seen, {}
        for job, lease in leases.items():
            known = before.get(job)
            self._seen[job] = known if known and known[0] == lease else (lease, now)
        return {job: lease for job, (lease, since) in self._seen.items() if now - since >= self._lease_s}
