"""An ensemble as the statistics see it: numbers per member, and no frames any more."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from leym.contract.fidelity_plan import Plan
from leym.fidelity import information, metrics
from leym.fidelity.ensemble import EngineLike, Subject, Trajectories, evolve
from leym.fidelity.metrics import METRICS
from leym.fidelity.paired import lyapunov
from leym.physics import dynamics, structure
from leym.physics.domains import labels_of

Sample = NDArray[np.float64]


@dataclass(frozen=True)
class Measured:
    """values: metric -> float64 [M]; spectra: float64 [M, K], mean over frames; flags: kind -> members that show it;

    curve: A(tau) at tau = 0, every, … averaged over members; seeds, attributes: as in `Trajectories`.
    """

    values: dict[str, Sample]
    spectra: NDArray[np.float64]
    flags: dict[str, int]
    curve: list[float]
    seeds: list[int]
    attributes: dict[str, object]

    @property
    def members(self) -> int:
        return len(self.spectra)

    def rows(self, names: tuple[str, ...]) -> NDArray[np.float64]:
        """The members as vectors of metrics: float64 [M, K]."""
        return np.stack([self.values[name] for name in names], axis=1)

    def taken(self, members: NDArray[np.int64]) -> Measured:
        """Some of the members, as if they had been run alone."""
        values = {name: sample[members] for name, sample in self.values.items()}
        seeds = [self.seeds[i] for i in members]
        return replace(self, values=values, spectra=self.spectra[members], seeds=seeds)


def run_and_measure(engine: EngineLike, subject: Subject, seeds: range, plan: Plan) -> tuple[Measured, Trajectories]:
    """Evolve an ensemble by the plan and measure it, Lyapunov exponents included."""
    found = evolve(engine, subject, plan.grid, seeds, steps=plan.steps, every=plan.every, spin_up=plan.spin_up)
    measured = measure_all(found, wrap=subject.law.manifest.boundary == "periodic")
    if "lyapunov" in plan.deciding and measured.members:
        exponents = measured.values["lyapunov"] = lyapunov(engine, subject, found, plan)
        if np.isnan(exponents).any():
            measured.flags.setdefault("nan", len(exponents))
    return measured, found


def measure_all(found: Trajectories, *, wrap: bool) -> Measured:
    """Every metric of every member but the Lyapunov exponent."""
    flags: dict[str, int] = {"nan": len(found.broken)} if found.broken else {}
    rows, spectra = [], []
    for psi, activity in zip(found.psi, found.activity, strict=True):
        for flag in metrics.flags(psi, activity):
            flags[flag] = flags.get(flag, 0) + 1
        rows.append(metrics.measure(psi, activity, wrap=wrap))
        spectra.append(structure.spectrum(psi).double().mean(0).numpy())
    names = rows[0] if rows else [name for name in METRICS if name != "lyapunov"]
    values = {name: np.array([row[name] for row in rows], np.float64) for name in names}
    curve = [1.0]
    if rows:
        lags = tuple(range(found.psi.shape[1] - 1))
        curve = [float(a) for a in dynamics.autocorrelation(found.psi[:8], lags).mean(0)]
    return Measured(values, np.array(spectra), flags, curve, found.seeds, found.attributes)


def scales_of(pilot: Measured, found: Trajectories, *, wrap: bool, members: int = 8) -> dict[str, float]:
    """What each effect is divided by, from an ensemble that takes no part in the test (see `Metric`)."""
    few = [metrics.shuffled(psi, seed) for psi, seed in zip(found.psi[:members], found.seeds, strict=False)]
    null = [metrics.measure(psi, activity, wrap=wrap) for psi, activity in zip(few, found.activity, strict=False)]
    scales = {}
    for name, values in pilot.values.items():
        if not len(values):  # no run stayed finite: nothing will be decided
            scales[name] = METRICS[name].floor
            continue
        metric, mean = METRICS[name], float(values.mean())
        away = float(np.mean([row[name] for row in null])) if metric.scale == "null" else 0.0
        scales[name] = max(abs(mean - away), metric.floor)
    return scales


def flow(found: Trajectories) -> dict[str, float]:
    """M11: stored information and transfer entropy between neighbours, bits, mean over members."""
    d = found.psi.shape[-1]
    rows = [information.information_flow(labels_of(psi), d) for psi in found.psi]
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]} if rows else {}
