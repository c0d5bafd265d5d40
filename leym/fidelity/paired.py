"""Before chaos acts: paired states, the floor of unrelated ones, and the growth of a small difference.

Here the numbers of one member in two laws are compared directly, from the same state on the attractor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from leym.contract.fidelity_plan import Plan
from leym.engine.run import Checkpoint
from leym.fidelity.ensemble import EngineLike, Subject, Trajectories, evolve
from leym.physics.dynamics import distance, exponent, normalised, perturbed, rescaled
from leym.physics.structure import alignment

TINY = 1e-12


@dataclass(frozen=True)
class Paired:
    """steps: 1 … T since the common state. fidelity, floor: mean over members and cells of |<b_t, q_t>|^2, for the same
    member in both laws and for unrelated members of the baseline. one_step_error: |dq - db| / |db|, dx = the change of
    the state in the first step, norms over all cells. crossing: the first step with fidelity <= floor, or None.
    """

    steps: list[int]
    fidelity: list[float]
    floor: list[float]
    one_step_error: float
    crossing: int | None


def fidelity(b: Tensor, q: Tensor) -> Tensor:
    """F = mean over cells of |<b, q>|^2 of normalised cells: complex64 [..., H, W, d] -> [...]."""
    return alignment(b, q).square().mean((-2, -1))


def paired(
    engine: EngineLike,
    baseline: Subject,
    candidate: Subject,
    ends: Sequence[Checkpoint],
    seeds: Sequence[int],
    plan: Plan,
) -> Paired:
    """Continue both laws from the same states, the ends of the baseline members with these seeds."""
    b, q = (
        evolve(engine, subject, plan.grid, seeds, steps=plan.paired_steps, every=1, starts=ends)
        for subject in (baseline, candidate)
    )
    alike = [seed for seed in b.seeds if seed in q.seeds]
    if not alike:
        return Paired([], [], [], float("nan"), None)
    pb, pq = (t.psi[[t.seeds.index(seed) for seed in alike]] for t in (b, q))
    curve, floor = fidelity(pb, pq).mean(0), unrelated(b.psi).mean(0)
    before = normalised(torch.stack([torch.from_numpy(np.array(e.arrays["psi"])) for e in ends]))
    before = before[[seeds.index(seed) for seed in alike]]
    db, dq = pb[:, 0] - before, pq[:, 0] - before
    error = float(((dq - db).abs().square().sum().sqrt()) / db.abs().square().sum().sqrt().clamp_min(TINY))
    below = (curve <= floor).nonzero()
    return Paired(
        list(range(1, plan.paired_steps + 1)),
        [float(value) for value in curve],
        [float(value) for value in floor],
        error,
        int(below[0]) + 1 if len(below) else None,
    )


def unrelated(psi: Tensor) -> Tensor:
    """F between each member and the next at the same frame: complex64 [M, T, H, W, d] -> [M, T]."""
    return fidelity(psi, psi.roll(-1, 0))


def long_range(b: Trajectories, q: Trajectories) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """F of the same seeds in both laws, and of unrelated baseline members, each a mean over frames: float64 [M]."""
    alike = [seed for seed in b.seeds if seed in q.seeds]
    if alike:
        pb, pq = (t.psi[[t.seeds.index(seed) for seed in alike]] for t in (b, q))
    else:  # the law against itself, on seeds of its own: these are unrelated by intent
        n = min(len(b.seeds), len(q.seeds))
        pb, pq = b.psi[:n], q.psi[:n]
    return fidelity(pb, pq).double().mean(1).numpy(), unrelated(b.psi).double().mean(1).numpy()


def lyapunov(engine: EngineLike, subject: Subject, trajectories: Trajectories, plan: Plan) -> NDArray[np.float64]:
    """Largest exponent per step and member, by Benettin's method from the ends of the trajectories: float64 [M].

    Both universes of a pair have the same seed, so a law that draws draws the same for both. A memory is perturbed by
    nothing, but its difference is rescaled with the state's. NaN for a member that does not stay finite.
    """
    starts, seeds, n = trajectories.ends, trajectories.seeds, len(trajectories.ends)
    states = [torch.from_numpy(np.array(e.arrays["psi"])) for e in starts]
    twins = [
        Checkpoint(e.step, {**e.arrays, "psi": perturbed(psi, plan.perturbation, seed).numpy()})
        for e, psi, seed in zip(starts, states, seeds, strict=True)
    ]
    before, after = (np.full((plan.rounds, n), np.nan) for _ in range(2))
    for i in range(plan.rounds):
        before[i] = [_apart(a, b) for a, b in zip(starts, twins, strict=True)]
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
        after[i] = [_apart(a, b) for a, b in zip(starts, twins, strict=True)]
        twins = [_closer(a, b, plan.perturbation) for a, b in zip(starts, twins, strict=True)]
    kept = slice(plan.settle, None)
    return exponent(torch.from_numpy(before[kept]), torch.from_numpy(after[kept]), plan.round_steps).numpy()


def _psi(end: Checkpoint) -> Tensor:
    return normalised(torch.from_numpy(np.array(end.arrays["psi"])))


def _apart(a: Checkpoint, b: Checkpoint) -> float:
    return float(distance(_psi(a), _psi(b)))


def _closer(a: Checkpoint, b: Checkpoint, size: float) -> Checkpoint:
    """b brought to distance `size` from a along the line between them, memory and all."""
    scale = size / max(_apart(a, b), TINY)
    arrays = {name: a.arrays[name] + (b.arrays[name] - a.arrays[name]) * np.float32(scale) for name in b.arrays}
    arrays["psi"] = rescaled(_psi(a), _psi(b), size).numpy()
    return Checkpoint(b.step, arrays)
