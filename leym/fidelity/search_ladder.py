"""Orders weights for getting more bits, and searches the smallest rung that passes. Torch-free, pure functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

HIGHER = ("nf4", "int8", "16")


@dataclass(frozen=True)
class Weight:
    """A quantised matrix.

    Attributes:
        key: of the weight.
        role: of the weight in the network, such as "head".
        format: that the law's precision gives it.
        sizes: bytes at rest per format of `HIGHER`.
        score: how far rollouts stray if only this matrix is quantised (`leym.fidelity.stability`).
        error: relative error of the first step.
    """

    key: str
    role: str
    format: str
    sizes: Mapping[str, int]
    score: float = 0.0
    error: float = 0.0

    def above(self, form: str) -> str | None:
        """Return the next higher format that takes fewer bytes than every better one; None if there is none."""
        higher = HIGHER[HIGHER.index(form) + 1 :]
        for i, candidate in enumerate(higher):
            if all(self.sizes[candidate] < self.sizes[better] for better in higher[i + 1 :]):
                return candidate
        return None

    @property
    def saved(self) -> int:
        """Bytes that the format saves against the next higher one."""
        above = self.above(self.format)
        return max(1, self.sizes[above] - self.sizes[self.format]) if above else 1


def ordered(weights: Sequence[Weight]) -> list[Weight]:
    """Sort weights by score per byte saved, highest first; ties (no change was seen) by error per byte saved."""
    return sorted(weights, key=lambda w: (-w.score / w.saved, -w.error / w.saved))


def rungs(order: Sequence[Weight]) -> list[dict[str, str]]:
    """Return the raised formats by key, per rung; rung 0 raises nothing.

    Each rung raises the next weight of the order by one format, and begins again with the first weight, until all have
    16 bits.
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
    """Return the smallest rung in [0, last] that passes, or None.

    A bisection finds the first rung that is not refused. From there on `passes` is asked rung by rung, so a bisection
    misled by noise costs time, not correctness. If no earlier rung passes, the last one is asked in any case.

    Args:
        last: number of the last rung.
        refused: a cheap test, assumed to be monotone (more bits do no harm).
        passes: the expensive test that decides.
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
