"""Fits gains of a law's stored weights, so that the statistics of its universes become those of the fp32 law.

    e(x) ≈ e + J x             e: effects on the metrics of the gate and on the spectrum, in margins
    x ← -(J'J + λ)⁻¹ J'e       x: along each direction, the logarithm of a gain of the weights

Codes that are near in one step can still move what a law settles to by several per cent. Chaos lets no gradient through
to that, but it takes few numbers to make good for few effects: every weight is cut into parts, the gains of all parts
move together along random directions, and J is found by regression over ensembles at x ± δ. A gain moves the scales of
blocks in NF4 and the values of other weights, so no byte is added.

Source of the design: random balance, two levels in every direction at once (Satterthwaite 1959); the step is that of
Levenberg and Marquardt.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from leym.quantization.codes import Codes
from leym.quantization.nf4 import NF4
from leym.training.yardstick import Measured

DIRECTIONS = 16  # of gains; more than there are effects that stand out
PARTS = 8  # of a weight, each with a gain of its own
STEP = 0.01  # δ at first, log gain
SMALLEST_STEP = 1e-3
FAR = 8.0  # margins: δ is halved if the effects of one step differ by more, because they are not linear that far
DAMPING = 0.01  # λ, in squared margins per squared step
REACH = 4.0  # longest move of a round along a direction, in steps
PRIOR = 0.3  # of the regression: ridge on J, in ensembles


@dataclass(frozen=True)
class Fitted:
    """The result of a fit.

    Attributes:
        codes: Those with the smallest distance among the start and the end of each round.
        distances: At the start and after each round, in margins.
        ensembles: How many were measured.
    """

    codes: Codes
    distances: tuple[float, ...]
    ensembles: int


class Gains:
    """The gains of a law's weights along random directions."""

    def __init__(self, codes: Mapping[str, Tensor | NF4], generator: np.random.Generator) -> None:
        """Cut the weights into parts and draw directions, one per part if there are few parts."""
        self._codes = dict(codes)
        self._parts = [(key, part) for key, code in codes.items() for part in parts_of(_scale(code))]
        count = len(self._parts)
        self.directions = min(DIRECTIONS, count)
        signs = generator.choice((-1.0, 1.0), (count, self.directions)) / np.sqrt(self.directions)
        self._mix = signs if count > self.directions else np.eye(count)

    def at(self, x: NDArray[np.float64]) -> Codes:
        """Return the codes with the gains exp(x), x float64 [directions]."""
        scales = {key: _scale(code).clone() for key, code in self._codes.items()}
        for (key, part), log_gain in zip(self._parts, self._mix @ x, strict=True):
            scales[key][part] *= float(np.exp(log_gain))
        return {key: _with_scale(code, scales[key]) for key, code in self._codes.items()}


def fit_gains(
    codes: Mapping[str, Tensor | NF4],
    measure: Callable[[Codes], Measured],
    *,
    rounds: int,
    seed: int,
    on_progress: Callable[[str], None] = lambda line: None,
) -> Fitted:
    """Fit the gains in some rounds, each of which measures two ensembles more than there are directions, and its end.

    Args:
        codes: Key -> code, of every weight that is no constant.
        measure: Runs an ensemble under codes; equal codes should run the same universes.
        rounds: Number of rounds.
        seed: Of the directions and of the steps along them.
        on_progress: Called with a line of text after every round.

    Raises:
        ValueError: An effect at the start is not finite.
    """
    generator = np.random.default_rng(seed)
    gains, step = Gains(codes, generator), STEP
    x = np.zeros(gains.directions)
    now = measure(gains.at(x))
    if not np.isfinite(now.effects).all():
        raise ValueError(f"the effect on {now.worst} is not finite: gains cannot be fitted")
    ends, tried, ensembles = [(now, x)], [(x, now.effects)], 1
    for number in range(rounds):
        left = gains.directions + 2
        while left:
            near = x + step * generator.choice((-1.0, 1.0), gains.directions)
            effects = measure(gains.at(near)).effects
            ensembles += 1
            if np.linalg.norm(effects - now.effects) < FAR:
                tried.append((near, effects))
            elif step > SMALLEST_STEP:  # not finite either
                step /= 2
                continue
            left -= 1
        places, found = (np.array(column) for column in zip(*tried, strict=True))
        x = x + step * next_move((places - x) / step, found)
        now = measure(gains.at(x))
        ensembles += 1
        ends.append((now, x))
        on_progress(f"gains, round {number + 1} of {rounds}: distance {now.distance:.2f} margins, by {now.worst}")
        if not np.isfinite(now.effects).all():
            break
        tried.append((x, now.effects))
    _, at = min(ends, key=lambda end: end[0].distance)
    return Fitted(gains.at(at), tuple(end.distance for end, _ in ends), ensembles)


def next_move(moves: NDArray[np.float64], effects: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the move that should undo the effects, in steps along each direction.

    Args:
        moves: From here to where ensembles were measured, in steps, float64 [N, directions].
        effects: Found there, in margins, float64 [N, E].
    """
    directions = moves.shape[1]
    weights = np.exp(-0.5 * (np.abs(moves).max(1) / REACH) ** 2)[:, None]  # far ones say little about here
    design = np.hstack([np.ones((len(moves), 1)), moves])
    prior = np.diag([1e-9, *[PRIOR] * directions])
    here, *slopes = np.linalg.solve(design.T @ (weights * design) + prior, design.T @ (weights * effects))
    jacobian = np.array(slopes).T
    move = -np.linalg.solve(jacobian.T @ jacobian + DAMPING * np.eye(directions), jacobian.T @ here)
    return np.clip(move, -REACH, REACH)


def parts_of(scale: Tensor) -> list[slice]:
    """Cut the first axis of a tensor into at most `PARTS` parts of about the same length."""
    count = len(scale)
    bounds = [part * count // min(PARTS, count) for part in range(min(PARTS, count) + 1)]
    return [slice(begin, end) for begin, end in pairwise(bounds)]


def _scale(code: Tensor | NF4) -> Tensor:
    return code.absmax if isinstance(code, NF4) else code


def _with_scale(code: Tensor | NF4, scale: Tensor) -> Tensor | NF4:
    return replace(code, absmax=scale) if isinstance(code, NF4) else scale
