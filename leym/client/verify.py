"""Whether two jobs recorded the same bits, and if not, from which step on and by how much."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

import numpy as np

from leym.client.job import Job


@dataclass(frozen=True)
class Compared:
    """One field or observable of two jobs.

    digests: SHA-256 of each job's steps and values. differs_from: the first step whose values are not the same bits,
    None if there is none; largest: the largest absolute difference of a value, NaN where one is no number.
    """

    name: str
    frames: int
    digests: tuple[str, str]
    differs_from: int | None
    largest: float

    @property
    def identical(self) -> bool:
        return self.digests[0] == self.digests[1]


def compare(job: Job, other: Job) -> list[Compared]:
    """Everything that two jobs of one spec recorded. Raises ValueError if they did not record the same steps."""
    names = [recording["field"] for recording in job.spec.get("record", [])]
    pairs = [(name, *job.array(name), *other.array(name)) for name in names]
    if job.spec.get("observe"):
        mine, theirs = job.series(), other.series()
        steps, others = mine.pop("step"), theirs.pop("step")
        pairs += [(name, steps, mine[name], others, theirs[name]) for name in mine]
    return [_compared(*pair) for pair in pairs]


def _compared(name: str, steps: np.ndarray, mine: np.ndarray, others: np.ndarray, theirs: np.ndarray) -> Compared:
    if not np.array_equal(steps, others):
        raise ValueError(f"{name}: the jobs recorded {len(steps)} and {len(others)} frames, not of the same steps")
    digests = tuple(sha256(steps.tobytes() + values.tobytes()).hexdigest() for values in (mine, theirs))
    differs, largest = None, 0.0
    if digests[0] != digests[1]:
        same = [a.tobytes() == b.tobytes() for a, b in zip(mine, theirs, strict=True)]
        differs = int(steps[same.index(False)])
        wide = np.complex128 if np.iscomplexobj(mine) else np.float64
        largest = float(np.abs(mine.astype(wide) - theirs.astype(wide)).max())
    return Compared(name, len(steps), (digests[0], digests[1]), differs, largest)
