"""The order in which weights get more bits, and the search for the smallest rung that passes. Torch-free, pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

HIGHER = ("nf4", "int8", "16")


@dataclass(frozen=True)
class Weight:
    """A quantised matrix. format: what the law's precision gives it; sizes: bytes at rest per format of `HIGHER`.

    score: how much of the gate's scales its quantisation alone is seen to change, at least; error: relative, of the
    first step.
    """

    key: str
    role: str
    format: str
    sizes: Mapping[str, int]
    score: float = 0.0
    error: float = 0.0

    def above(self, form: str) -> str | None:
        """The next higher format; one that takes no fewer bytes than a better one is left out. None: there is none."""
        higher = HIGHER[HIGHER.index(form) + 1 :]
        for i, candidate in enumerate(higher):
            if all(self.sizes[candidate] < self.sizes[better] for better in higher[i + 1 :]):
                return candidate
        return None

    @property
    def saved(self) -> int:
        """Bytes that its format saves against the next higher one."""
        above = self.above(self.format)
        return max(1, self.sizes[above] - self.sizes[self.format]) if above else 1


def ordered(weights: Sequence[Weight]) -> list[Weight]:
    """By score per byte saved, the highest first; ties (nothing was seen to change) by error per byte saved."""
    return sorted(weights, key=lambda w: (-w.score / w.saved, -w.error / w.saved))


def rungs(order: Sequence[Weight]) -> list[dict[str, str]]:
    """Key -> raised format, per rung; rung 0 raises nothing.

    Each weight of the order in turn goes up by one format; from the first one again, until all have 16 bits.
    """
    found: list[dict[str, str]] = [{}]
    now = {w.key: w.format for w in order}
    for _ in HIGHER[1:]:
        for weight in order:
            above = weight.above(now[weight.key])
            if above is not None:
                now[weight.key] = above
                found.append({**found[-1], weight.key: above})
    return found


def climb(last: int, refused: Callable[[int], bool], passes: Callable[[int], bool]) -> int | None:
    """The smallest rung in [0, last] that passes, or None.

    `refused` is cheap and taken to be monotone (more bits do no harm): its first "no" is found by bisection. `passes`
    is dear and asked from there on, rung by rung, so that a bisection that was wrong by noise costs time, not truth;
    the last rung is asked whatever the cheap answers were.
    """
    low, high = 0, last
    if refused(0):
        low = min(1, last)
        while low < high:
            middle = (low + high) // 2
            if refused(middle):
                low = middle + 1
            else:
                high = middle
    return next((rung for rung in range(low, last + 1) if passes(rung)), None)
