"""Compares the behaviours of laws: distances between their fp32 ensembles in the space of the gate's metrics.

The descriptor of a law holds the mean of each metric over the members of its ensemble, z-scored over the laws that are
compared, so that every metric weighs the same whatever its units. The distance of two laws is the root mean square
difference of their descriptors: 1 says that they differ in each metric by as much as these laws scatter. The yardstick
is the distance of the two halves of one law's ensemble: two laws that are not clearly farther apart behave alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from leym.contract.fidelity_plan import Plan
from leym.fidelity.decision import finite
from leym.fidelity.ensemble import EngineLike, Subject
from leym.fidelity.measurement import Measurements, run_and_measure
from leym.fidelity.metrics import METRICS
from leym.fidelity.regime import Label, regime_of
from leym.laws.bundle import Bundle


@dataclass(frozen=True)
class Behaviour:
    """The fp32 ensemble of a law, as numbers.

    Attributes:
        name: of the law.
        regime: of the law.
        measured: its measurements.
    """

    name: str
    regime: Label
    measured: Measurements


@dataclass(frozen=True)
class Distances:
    """Pairwise distances of N laws.

    Attributes:
        names: of the laws.
        metrics: that the descriptors hold: those that all laws have and that are not the same for all.
        apart: float64 [N, N], symmetric, 0 on the diagonal.
        halves: distance of the two halves of each law's ensemble, float64 [N].
        nearest: place of the nearest other law, int64 [N].
    """

    names: list[str]
    metrics: list[str]
    apart: NDArray[np.float64]
    halves: NDArray[np.float64]
    nearest: NDArray[np.int64]


def behaviour_of(engine: EngineLike, law: Bundle, plan: Plan) -> Behaviour:
    """Run an fp32 ensemble of the law by the plan, and measure it.

    Raises:
        Problem: the law cannot be run at all.
    """
    subject = Subject(law, "fp32", plan.gamma)
    measured, trajectories = run_and_measure(engine, subject, plan.seeds, plan)
    return Behaviour(law.name, regime_of(engine, subject, measured, trajectories, plan).label, measured)


def distances(behaviours: Sequence[Behaviour]) -> Distances:
    """Return how far apart the behaviours are.

    Raises:
        ValueError: there are fewer than two laws, or no metric tells them apart.
    """
    if len(behaviours) < 2:
        raise ValueError(f"{len(behaviours)} laws: distances take at least 2")
    means, first, second = (
        np.array([[_mean(one.measured, name, part) for name in METRICS] for one in behaviours])
        for part in (slice(None), slice(0, None, 2), slice(1, None, 2))
    )
    spread = means.std(axis=0)
    told = np.isfinite(means + first + second).all(axis=0) & (spread > 0)
    if not told.any():
        raise ValueError("no metric tells these laws apart")
    z, *halves = (rows[:, told] / spread[told] for rows in (means, first, second))
    apart = cdist(z, z) / np.sqrt(told.sum())
    others = apart + np.diag(np.full(len(apart), np.inf))
    metrics = [name for name, chosen in zip(METRICS, told, strict=True) if chosen]
    within = np.sqrt(np.square(halves[0] - halves[1]).mean(axis=1))
    return Distances([one.name for one in behaviours], metrics, apart, within, others.argmin(axis=1))


def _mean(measured: Measurements, metric: str, members: slice) -> float:
    sample = finite(measured.values.get(metric))[members]
    return float(sample.mean()) if len(sample) else float("nan")
