"""Delays between retries that grow until they reach a limit."""

from __future__ import annotations

import random
from dataclasses import dataclass

_MAX_EXPONENT = 64  # keeps the power finite after any number of failures; the limit is reached long before


@dataclass(frozen=True)
class Backoff:
    """Exponential back-off: delay n is first_s * factor**n, at most longest_s.

    Attributes:
        first_s: seconds to wait after the first failure.
        longest_s: upper limit of a delay in seconds.
        factor: growth from one delay to the next.
        jitter: relative random spread, so that clients do not retry in step; 0.25 gives 75 % to 125 % of a delay.
    """

    first_s: float
    longest_s: float
    factor: float = 2.0
    jitter: float = 0.0

    def delay_s(self, failures: int) -> float:
        """Return the seconds to wait when `failures` attempts have failed before the one that just did."""
        delay = self.first_s * self.factor ** min(failures, _MAX_EXPONENT)
        if self.jitter:
            delay *= random.uniform(1 - self.jitter, 1 + self.jitter)  # noqa: S311 - no secret depends on it
        return min(delay, self.longest_s)
