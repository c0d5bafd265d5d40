"""Names the regime of a law from its fp32 baseline: frozen, periodic, chaotic or waves, with the numbers behind it.

The bounds belong to the plan, so they are fixed before any run. The first rule that holds gives the label:

    frozen      mean activity < frozen_below
    chaotic     the interval of the largest Lyapunov exponent lies above chaos_above
    waves       the picture travels: in patches of PATCH cells, shifts by 1 to REACH cells undo at least the share
                travel_above of the distance between psi at t and psi at t + tau
    periodic    the state returns: its overlap with an earlier one is recurrence or more, after it had been ten times
                farther away
    undecided   none of these

Overlaps are mean alignments |<a, b>| of cells, which a phase per cell does not change if d > 1. Motion and return are
measured in a few members that go on from their last states with a frame per step, and return also over the whole
ensemble's frames, for long periods. Each is the median over members, so that a few odd members do not name the law.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import nan
from typing import Literal

import numpy as np
import torch
from scipy.special import stdtrit
from torch import Tensor
from torch.nn.functional import avg_pool2d

from leym.contract.fidelity_plan import Plan
from leym.fidelity.decision import finite
from leym.fidelity.ensemble import EngineLike, Subject, Trajectories, evolve
from leym.fidelity.measurement import Measurements
from leym.fidelity.stats import Sample
from leym.physics.structure import alignment

Label = Literal["frozen", "periodic", "chaotic", "waves", "undecided"]
PATCH, REACH = 8, 3  # cells
LAGS = (1, 2, 4, 8, 16, 32)  # steps
BACK = 0.1  # a return is at most this share of the largest distance away
STILL = 1e-4  # distances below it are rounding


@dataclass(frozen=True)
class Regime:
    """The regime of a law.

    Attributes:
        label: "frozen", "periodic", "chaotic", "waves" or "undecided".
        evidence: the numbers that it rests on. `activity_*` and `lyapunov_*`, per step, are the mean over members and
            the ends of its 1 - 2 alpha interval; `recurrence` is the best overlap of a return, `period` the steps to
            it; `travel` is the share of the distance 1 - overlap that the best shifts undo, `travel_lag` the
            steps of that motion; `peak` is the share of the strongest wavenumber in the structure
            factor without k = 0, `peak_wavenumber` that wavenumber in cycles per shorter side. NaN: not measured.
    """

    label: Label
    evidence: dict[str, float]


def regime_of(
    engine: EngineLike, subject: Subject, baseline: Measurements, trajectories: Trajectories, plan: Plan
) -> Regime:
    """Measure the evidence and name the regime.

    Args:
        engine: runs a few members on, with a frame per step.
        subject: the law in fp32.
        baseline: the measurements of its first baseline.
        trajectories: the frames of that baseline.
        plan: grid, bounds, and the number of members and steps of the run.
    """
    evidence = _interval("activity", baseline, plan) | _interval("lyapunov", baseline, plan) | _peak(baseline)
    ends, seeds = trajectories.ends[: plan.pairs], trajectories.seeds[: plan.pairs]
    if ends and plan.regime_steps:
        dense = evolve(engine, subject, plan.grid, seeds, steps=plan.regime_steps, every=1, starts=ends)
        if dense.seeds:
            evidence |= _recurrence(dense.cells, trajectories.cells, plan) | _travel(dense.cells)
    return Regime(label_of(evidence, plan), evidence)


def label_of(evidence: dict[str, float], plan: Plan) -> Label:
    """Return the label that the evidence gives by the plan's bounds; see the module for the rules."""
    if evidence["activity"] < plan.frozen_below:
        return "frozen"
    if evidence["lyapunov_low"] > plan.chaos_above:
        return "chaotic"
    if evidence.get("travel", 0.0) >= plan.travel_above:
        return "waves"
    if evidence.get("recurrence", 0.0) >= plan.recurrence:
        return "periodic"
    return "undecided"


def returns(psi: Tensor) -> tuple[Tensor, Tensor]:
    """Return the best overlap of a return to the first frame, and the first frame with that overlap.

    A return is a frame whose distance 1 - overlap is at most BACK times the largest distance before it.

    Args:
        psi: complex64 [M, T, H, W, d].

    Returns:
        float64 [M] each; overlap 0 and frame NaN for members that do not return.
    """
    frames = range(psi.shape[1])
    away = 1 - torch.stack([alignment(psi[:, 0], psi[:, t]).double().mean((1, 2)) for t in frames], 1)
    farthest = away.cummax(1).values.roll(1, 1)
    farthest[:, 0] = 0
    back = (farthest > STILL) & (away <= BACK * farthest)
    overlap = torch.where(back, 1 - away, 0.0)
    best = overlap.amax(1)
    first = (overlap >= best[:, None] - STILL).double().argmax(1).double()
    return best, torch.where(back.any(1), first, nan)


def travel(psi: Tensor, lag: int) -> Tensor:
    """Return the share of the distance between states `lag` steps apart that shifts undo: float64 [M].

    1 - D' / D, with D the mean distance 1 - overlap in place and D' that after the best shift, by 1 to REACH cells, of
    each patch of PATCH x PATCH cells: waves may run in any direction. The first and the last pair of states count. 1
    for a picture that only travels; about 0.25 for noise, because the best of many shifts is taken; 0 or less for
    cells that change in place, and for states that are equal up to rounding.

    Args:
        psi: complex64 [M, T, H, W, d], a frame per step.
        lag: steps between the two states, below T.
    """
    patch = min(PATCH, *psi.shape[2:4])
    shifts = [(i, j) for i in range(-REACH, REACH + 1) for j in range(-REACH, REACH + 1) if i or j]

    def distances(before: Tensor, after: Tensor) -> Tensor:  # [M, h, w] patches
        return avg_pool2d(1 - alignment(before, after), patch)

    in_place, shifted = torch.zeros(2, len(psi), dtype=torch.float64)
    for before, after in ((psi[:, 0], psi[:, lag]), (psi[:, -1 - lag], psi[:, -1])):
        in_place += distances(before, after).double().mean((1, 2))
        best = torch.stack([distances(before.roll(shift, (1, 2)), after) for shift in shifts]).amin(0)
        shifted += best.double().mean((1, 2))
    return torch.where(in_place > STILL, 1 - shifted / in_place.clamp_min(STILL), 0.0)


def _recurrence(dense: Tensor, frames: Tensor, plan: Plan) -> dict[str, float]:
    found = [(*map(_median, returns(psi)), steps) for psi, steps in ((dense, 1), (frames, plan.every))]
    overlap, frame, steps = max(found, key=lambda one: one[0])  # the first of equals, whose period is finer
    return {"recurrence": overlap, "period": frame * steps}


def _travel(dense: Tensor) -> dict[str, float]:
    found = {lag: _median(travel(dense, lag)) for lag in LAGS if lag < dense.shape[1]}
    lag = max(found, key=lambda lag: found[lag])
    return {"travel": found[lag], "travel_lag": float(lag)}


def _peak(baseline: Measurements) -> dict[str, float]:
    if not baseline.members or baseline.spectra.shape[1] < 2:
        return {"peak": nan, "peak_wavenumber": nan}
    energy = baseline.spectra.mean(0)[1:]
    return {"peak": float(energy.max() / max(energy.sum(), 1e-30)), "peak_wavenumber": float(energy.argmax() + 1)}


def _interval(name: str, baseline: Measurements, plan: Plan) -> dict[str, float]:
    mean, half = mean_interval(finite(baseline.values.get(name)), plan.alpha)
    return {name: mean, f"{name}_low": mean - half, f"{name}_high": mean + half}


def mean_interval(sample: Sample, alpha: float) -> tuple[float, float]:
    """Return the mean of float64 [M] and the half width of its 1 - 2 alpha t-interval; NaN for too few members."""
    if len(sample) < 2:
        return (float(sample.mean()) if len(sample) else nan), nan
    error = float(sample.std(ddof=1)) / np.sqrt(len(sample))
    return float(sample.mean()), float(stdtrit(len(sample) - 1, 1 - alpha)) * error


def _median(values: Tensor) -> float:
    """Return the median; NaN if it falls among members without a value."""
    ordered = np.sort(values.double().numpy())  # NaN last
    return float(ordered[(len(ordered) - 1) // 2])
