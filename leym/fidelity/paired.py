"""Compares single universes in two laws while chaos has not yet separated them, and measures how fast it does.

Both laws start from the same state on the attractor; the fidelity of unrelated members is the floor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from leym.contract.fidelity_plan import Plan
from leym.engine.states import Checkpoint
from leym.fidelity.ensemble import EngineLike, Subject, Trajectories, evolve
from leym.fidelity.stats import Sample
from leym.physics.constraint import Box
from leym.physics.dynamics import distance, exponent, perturbed, projected, rescaled
from leym.physics.reference import beside_reference
from leym.physics.structure import alignment

TINY = 1e-12
Bounds = Literal["unit", "none"] | Box


@dataclass(frozen=True)
class PairedComparison:
    """The short-range comparison of two laws.

    Attributes:
        steps: 1 … T, counted from the common state.
        fidelity: F(t) of the same member in both laws, averaged over members.
        floor: F(t) of unrelated members of the baseline.
        one_step_error: |dc - db| / |db| with db, dc the change of the state in the first step of baseline and
            candidate; norms over all cells and members.
        crossing: the first step with fidelity <= floor; None if there is none.
    """

    steps: list[int]
    fidelity: list[float]
    floor: list[float]
    one_step_error: float
    crossing: int | None


def state_fidelity(a: Tensor, b: Tensor) -> Tensor:
    """Return F = mean over cells of |<a, b>|^2 of normalised cells: complex64 [..., H, W, d] each -> [...]."""
    return alignment(a, b).square().mean((-2, -1))


def compare_pairs(
    engine: EngineLike,
    baseline: Subject,
    candidate: Subject,
    starts: Sequence[Checkpoint],
    seeds: Sequence[int],
    plan: Plan,
) -> PairedComparison:
    """Run both laws from the same states.

    Args:
        engine: runs the universes.
        baseline: the law in fp32.
        candidate: the law in question.
        starts: last states of members of the baseline.
        seeds: the seeds of these members.
        plan: grid and number of steps.
    """
    of_baseline, of_candidate = (
        evolve(engine, subject, plan.grid, seeds, steps=plan.paired_steps, every=1, starts=starts)
        for subject in (baseline, candidate)
    )
    common = [seed for seed in of_baseline.seeds if seed in of_candidate.seeds]
    if not common:
        return PairedComparison([], [], [], float("nan"), None)
    psi_baseline, psi_candidate = _members(of_baseline, common), _members(of_candidate, common)
    curve, floor = state_fidelity(psi_baseline, psi_candidate).mean(0), unrelated(of_baseline.cells).mean(0)
    constraint = baseline.law.manifest.constraint
    before = beside_reference(_psi(starts, constraint)[[seeds.index(seed) for seed in common]], constraint)
    db, dc = psi_baseline[:, 0] - before, psi_candidate[:, 0] - before
    error = float(((dc - db).abs().square().sum().sqrt()) / db.abs().square().sum().sqrt().clamp_min(TINY))
    below = (curve <= floor).nonzero()
    return PairedComparison(
        list(range(1, plan.paired_steps + 1)),
        [float(value) for value in curve],
        [float(value) for value in floor],
        error,
        int(below[0]) + 1 if len(below) else None,
    )


def unrelated(psi: Tensor) -> Tensor:
    """Return F between each member and the next one at the same frame: complex64 [M, T, H, W, d] -> [M, T]."""
    return state_fidelity(psi, psi.roll(-1, 0))


def long_range(baseline: Trajectories, candidate: Trajectories) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return F of equal seeds in both laws, and F of unrelated baseline members, averaged over frames: float64 [M]."""
    common = [seed for seed in baseline.seeds if seed in candidate.seeds]
    if common:
        psi_baseline, psi_candidate = _members(baseline, common), _members(candidate, common)
    else:  # the law against itself runs on seeds of its own: these members are unrelated by design
        n = min(len(baseline.seeds), len(candidate.seeds))
        psi_baseline, psi_candidate = baseline.cells[:n], candidate.cells[:n]
    related = state_fidelity(psi_baseline, psi_candidate).double().mean(1).numpy()
    return related, unrelated(baseline.cells).double().mean(1).numpy()


def lyapunov(engine: EngineLike, subject: Subject, trajectories: Trajectories, plan: Plan) -> NDArray[np.float64]:
    """Return the largest Lyapunov exponent per step of each member: float64 [M]; NaN if a run does not stay finite.

    Benettin's method, from the last states of the trajectories: each member runs beside a perturbed twin, whose
    distance is rescaled after every round. Both have the same seed, so a stochastic law draws the same numbers for
    both. The memory of a recurrent law is not perturbed, but its difference is rescaled with that of the state. Cells
    are normalised for laws with the constraint "unit" only, and empty cells are not perturbed.
    """
    constraint = subject.law.manifest.constraint
    starts, seeds, n = trajectories.ends, trajectories.seeds, len(trajectories.ends)
    states = [torch.from_numpy(np.array(e.arrays["psi"])) for e in starts]
    twins = [
        Checkpoint(e.step, {**e.arrays, "psi": perturbed(psi, plan.perturbation, seed, constraint).numpy()})
        for e, psi, seed in zip(starts, states, seeds, strict=True)
    ]
    before, after = (np.full((plan.rounds, n), np.nan) for _ in range(2))
    for i in range(plan.rounds):
        before[i] = distance(_psi(starts, constraint), _psi(twins, constraint)).numpy()
        both = evolve(
            engine,
            subject,
            plan.grid,
            [*seeds, *seeds],
            steps=plan.round_steps,
            every=plan.steps * 1000,  # no frames
            starts=[*starts, *twins],
        )
        if both.broken:
            return np.full(n, np.nan)
        starts, twins = both.ends[:n], both.ends[n:]
        after[i] = distance(_psi(starts, constraint), _psi(twins, constraint)).numpy()
        twins = _rescaled(starts, twins, after[i], plan.perturbation, constraint)
    measured = slice(plan.settle, None)
    found = exponent(torch.from_numpy(before[measured]), torch.from_numpy(after[measured]), plan.round_steps)
    return np.asarray(found.numpy(), np.float64)


def _members(trajectories: Trajectories, seeds: Sequence[int]) -> Tensor:
    """Return the cells of the members with these seeds, in their order."""
    return trajectories.cells[[trajectories.seeds.index(seed) for seed in seeds]]


def _psi(ends: Sequence[Checkpoint], constraint: Bounds) -> Tensor:
    """Return the states of M members as the constraint allows them: complex64 [M, H, W, d]."""
    return projected(torch.from_numpy(np.stack([end.arrays["psi"] for end in ends])), constraint)


def _rescaled(
    starts: Sequence[Checkpoint], twins: Sequence[Checkpoint], apart: Sample, size: float, constraint: Bounds
) -> list[Checkpoint]:
    """Move each twin to distance `size` from its start along the line between them, memory included.

    Args:
        starts: M checkpoints.
        twins: M checkpoints.
        apart: their distances, float64 [M].
        size: the new distance.
        constraint: of the law.
    """
    moved = rescaled(_psi(starts, constraint), _psi(twins, constraint), size, constraint).numpy()
    scales = (size / np.maximum(apart, TINY)).astype(np.float32)
    found = []
    for a, b, psi, scale in zip(starts, twins, moved, scales, strict=True):
        others = b.arrays.keys() - {"psi"}
        arrays = {name: a.arrays[name] + (b.arrays[name] - a.arrays[name]) * scale for name in others}
        found.append(Checkpoint(b.step, arrays | {"psi": psi}))
    return found
