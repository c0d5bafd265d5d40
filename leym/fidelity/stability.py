"""Scores how much a law's rollouts suffer from the quantisation of one weight, forward only and without the gate.

The law with that weight quantised and the law without start from the same states on the attractor and make K steps.
With D_t the distance of both at step t (root mean square over cells), D_oo that of unrelated members, and a mean
activity A over steps and members:

    score = (1 / K) sum_t D_t / D_oo + |A' - A| / A
    growth = log(D_K / D_1) / (K - 1), per step

The first term holds the error of one step and how the law lets it grow; at 1 the quantised law has forgotten its start
at once. The second one holds a drift of the dynamics that distances do not show once they are saturated. Equal starts
make the score free of sampling noise, so a few members do, where two ensembles would take hundreds. In the spirit of
the rollout-stability scores of TQS (arXiv 2606.13300); terms and scales are our own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, log

import numpy as np
import torch
from torch import Tensor

from leym.engine.states import Checkpoint
from leym.fidelity.ensemble import EngineLike, Subject, Trajectories, evolve
from leym.fidelity.metrics import METRICS
from leym.physics.dynamics import distance

STEPS = 32
SMALL = 1e-6  # least divisor of a distance


@dataclass(frozen=True)
class Stability:
    """Measures how far rollouts stray; all infinite if a member does not stay finite.

    Attributes:
        score: deviation + drift.
        deviation: mean distance over the steps, in units of the distance of unrelated members.
        drift: relative change of the mean activity.
        growth: of the distance per step, as a rate; 0 if there is no distance.
        error: distance after the first step, divided by the length of that step.
    """

    score: float
    deviation: float
    drift: float
    growth: float
    error: float


BROKEN = Stability(inf, inf, inf, inf, inf)


class Rollouts:
    """Rollouts of a law from fixed states, against which candidates are scored.

    Args:
        engine: runs the universes.
        reference: the law with nothing quantised.
        grid: (H, W) in cells.
        starts: states on the attractor, at least two, all at one step.
        seeds: the seeds of these members.
        steps: K.

    Raises:
        ValueError: there are fewer than two starts, or a rollout of the reference does not stay finite.
    """

    def __init__(
        self,
        engine: EngineLike,
        reference: Subject,
        grid: tuple[int, int],
        starts: Sequence[Checkpoint],
        seeds: Sequence[int],
        steps: int = STEPS,
    ):
        if len(starts) < 2:
            raise ValueError(f"{len(starts)} start states: rollouts take at least 2")
        self._engine, self._grid, self._starts, self._seeds, self._steps = engine, grid, starts, seeds, steps
        self._reference = self._run(reference)
        if self._reference.broken:
            raise ValueError(f"seeds {self._reference.broken} of {reference.law.ref} do not stay finite")

    def score(self, candidate: Subject) -> Stability:
        """Run the candidate from the same states and score it."""
        return stability(self._reference, self._run(candidate), _states(self._starts))

    def _run(self, subject: Subject) -> Trajectories:
        return evolve(self._engine, subject, self._grid, self._seeds, steps=self._steps, every=1, starts=self._starts)


def stability(reference: Trajectories, candidate: Trajectories, starts: Tensor) -> Stability:
    """Score rollouts of M members over K steps, one frame per step.

    Args:
        reference: of the law with nothing quantised.
        candidate: of the law in question, from the same states.
        starts: these states, complex64 [M, H, W, d].
    """
    if candidate.broken:
        return BROKEN
    apart = distance(reference.psi, candidate.psi).mean(0)
    unrelated = float(distance(reference.psi, reference.psi.roll(1, 0)).mean())
    first_step = float(distance(starts, reference.psi[:, 0]).mean())
    before, after = (float(run.activity.double().mean()) for run in (reference, candidate))
    first, last = float(apart[0]), float(apart[-1])
    deviation = float(apart.mean()) / max(unrelated, SMALL)
    drift = abs(after - before) / max(before, METRICS["activity"].floor)
    growth = log(last / first) / (len(apart) - 1) if min(first, last) > 0 and len(apart) > 1 else 0.0
    return Stability(deviation + drift, deviation, drift, growth, first / max(first_step, SMALL))


def _states(starts: Sequence[Checkpoint]) -> Tensor:
    return torch.from_numpy(np.stack([start.arrays["psi"] for start in starts]))
