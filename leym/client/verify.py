"""Compares two jobs bit by bit: the first step at which they differ, and by how much."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

import numpy as np

from leym.client.job import Job


@dataclass(frozen=True)
class Comparison:
    """One field or observable of two jobs.

    Attributes:
        name: name of the field or observable.
        frames: number of steps compared.
        digests: SHA-256 of the steps and values of each job.
        differs_from: first step with different bits; None if all are equal.
        largest: largest absolute difference of a value; NaN if a value is NaN.
    """

    name: str
    frames: int
    digests: tuple[str, str]
    differs_from: int | None
    largest: float

    @property
    def identical(self) -> bool:
        """True if all bits are equal."""
        return self.digests[0] == self.digests[1]


def compare(job: Job, other: Job) -> list[Comparison]:
    """Compare all fields and observables of two jobs with the same spec.

    Raises:
        ValueError: the jobs did not record the same steps.
    """
    names = [recording["field"] for recording in job.spec.get("record", [])]
    pairs = [(name, *job.array(name), *other.array(name)) for name in names]
    if job.spec.get("observe"):
        mine, theirs = job.series(), other.series()
        steps, others = mine.pop("step"), theirs.pop("step")
        pairs += [(name, steps, mine[name], others, theirs[name]) for name in mine]
    return [compare_arrays(*pair) for pair in pairs]


def compare_arrays(
    name: str, steps: np.ndarray, mine: np.ndarray, others: np.ndarray, theirs: np.ndarray
) -> Comparison:
    """Compare the steps and values of one field or observable bit by bit.

    Raises:
        ValueError: the steps differ.
    """
    if not np.array_equal(steps, others):
        raise ValueError(f"{name}: the jobs recorded {len(steps)} and {len(others)} frames, not of the same steps")
    digests = tuple(sha256(steps.tobytes() + values.tobytes()).hexdigest() for values in (mine, theirs))
    differs, largest = None, 0.0
    if digests[0] != digests[1]:
        same = [a.tobytes() == b.tobytes() for a, b in zip(mine, theirs, strict=True)]
        differs = int(steps[same.index(False)])
        wide = np.complex128 if np.iscomplexobj(mine) else np.float64
        largest = float(np.abs(mine.astype(wide) - theirs.astype(wide)).max())
    return Comparison(name, len(steps), (digests[0], digests[1]), differs, largest)
