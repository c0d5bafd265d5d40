"""Reduces an ensemble to what the statistics read: numbers per member, without frames."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from leym.contract.fidelity_plan import Plan
from leym.fidelity import information, metrics
from leym.fidelity.ensemble import EngineLike, Subject, Trajectories, evolve
from leym.fidelity.metrics import METRICS
from leym.fidelity.paired import lyapunov
from leym.fidelity.stats import Sample
from leym.physics import dynamics, structure
from leym.physics.domains import labels_of

CURVE_MEMBERS = 8  # members whose memory is averaged for the plot of A(tau)


@dataclass(frozen=True)
class Measurements:
    """The measurements of an ensemble of M members.

    Attributes:
        values: one number per member and metric, float64 [M] each.
        spectra: spectrum of each member, averaged over frames, float64 [M, K].
        flags: number of members per flag.
        curve: A(tau) at tau = 0, every, 2 every, …, averaged over members.
        seeds: the seed of each member.
        attributes: how the engine computed the runs.
    """

    values: dict[str, Sample]
    spectra: NDArray[np.float64]
    flags: dict[str, int]
    curve: list[float]
    seeds: list[int]
    attributes: dict[str, object]

    @property
    def members(self) -> int:
        """Number of members."""
        return len(self.spectra)

    def rows(self, names: tuple[str, ...]) -> NDArray[np.float64]:
        """Return the members as vectors of these K metrics: float64 [M, K]."""
        return np.stack([self.values[name] for name in names], axis=1)

    def taken(self, members: NDArray[np.int64]) -> Measurements:
        """Return the measurements of some of the members, as if only they had been run."""
        values = {name: sample[members] for name, sample in self.values.items()}
        seeds = [self.seeds[i] for i in members]
        return replace(self, values=values, spectra=self.spectra[members], seeds=seeds)


def run_and_measure(
    engine: EngineLike, subject: Subject, seeds: range, plan: Plan
) -> tuple[Measurements, Trajectories]:
    """Run an ensemble by the plan and measure it, Lyapunov exponents included if they decide."""
    trajectories = evolve(engine, subject, plan.grid, seeds, steps=plan.steps, every=plan.every, spin_up=plan.spin_up)
    measured = measure_all(trajectories, wrap=subject.law.manifest.boundary == "periodic")
    if "lyapunov" in plan.deciding and measured.members:
        exponents = measured.values["lyapunov"] = lyapunov(engine, subject, trajectories, plan)
        if np.isnan(exponents).any():
            measured.flags.setdefault("nan", len(exponents))
    return measured, trajectories


def measure_all(trajectories: Trajectories, *, wrap: bool) -> Measurements:
    """Measure every metric of every member except the Lyapunov exponent, which needs runs of its own."""
    flags: dict[str, int] = {"nan": len(trajectories.broken)} if trajectories.broken else {}
    rows, spectra = [], []
    for psi, activity in zip(trajectories.cells, trajectories.activity, strict=True):
        for flag in metrics.flags(psi, activity):
            flags[flag] = flags.get(flag, 0) + 1
        rows.append(metrics.measure(psi, activity, wrap=wrap))
        spectra.append(structure.spectrum(psi).double().mean(0).numpy())
    names = rows[0] if rows else [name for name in METRICS if name != "lyapunov"]
    values = {name: np.array([row[name] for row in rows], np.float64) for name in names}
    curve = [1.0]
    if rows:
        lags = tuple(range(trajectories.psi.shape[1] - 1))
        curve = [float(a) for a in dynamics.autocorrelation(trajectories.cells[:CURVE_MEMBERS], lags).mean(0)]
    return Measurements(values, np.array(spectra), flags, curve, trajectories.seeds, trajectories.attributes)


def scales_of(reference: Measurements, trajectories: Trajectories, *, wrap: bool, members: int = 8) -> dict[str, float]:
    """Return the divisor of each metric's effect, from an ensemble that takes no part in the test (see `Metric`).

    Args:
        reference: measurements of that ensemble.
        trajectories: its frames.
        wrap: True if the law's boundary is periodic.
        members: members whose shuffled frames are measured.
    """
    few = [metrics.shuffled(psi, s) for psi, s in zip(trajectories.cells[:members], trajectories.seeds, strict=False)]
    null = [metrics.measure(psi, a, wrap=wrap) for psi, a in zip(few, trajectories.activity, strict=False)]
    scales = {}
    for name, values in reference.values.items():
        if not len(values):  # no run stayed finite: nothing will be decided
            scales[name] = METRICS[name].floor
            continue
        metric, mean = METRICS[name], float(values.mean())
        away = float(np.mean([row[name] for row in null])) if metric.scale == "null" else 0.0
        scales[name] = max(abs(mean - away), metric.floor)
    return scales


def mean_information_flow(trajectories: Trajectories) -> dict[str, float]:
    """Return stored information and transfer entropy between neighbours (M11), in bits, averaged over members."""
    d = trajectories.cells.shape[-1]
    rows = [information.information_flow(labels_of(psi), d) for psi in trajectories.cells]
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]} if rows else {}
