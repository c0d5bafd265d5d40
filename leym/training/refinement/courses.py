"""Follows a law over K steps, and measures how far two laws are apart in it.

    one step      mean |q_1 - p_1|² / mean |p_1 - p_0|²                    p: the fp32 law, q: the stored one
    rollout       mean over k = 1 … K of mean |q_k - p_k|² / mean |p_k - p_0|²
    activity      (log a_q / a_p)²                                         a = mean of |psi' - psi|
    memory        mean over lags of (m_q - m_p)² / (1 - m_p)²              m = mean of |<psi_0, psi_lag>| / norms
    spectrum      mean over wave numbers of (log S_q / S_p)²               S: radial structure factor of the last state
    tangent       (g_q - g_p)²                                             g = log2 of the growth of a small difference

The first two compare universes, which only makes sense from the same states and for few steps. The other four compare
averages over universes; the same four compare the law on its own attractor with the fp32 law on its own ("drift").
All are relative, so that the same weights suit different laws.

Sources: Schiff et al. 2024, "DySLIM", arXiv 2402.04467 (statistics of the attractor in the loss); Jiang et al. 2023,
arXiv 2306.01187 (the same for chaotic flows); Benettin et al. 1980, doi 10.1007/BF02128236 (growth of differences).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn

from leym.laws.bundle import Manifest
from leym.training.calibration.states import Visited
from leym.training.objectives.statistics import alignment

TINY = 1e-12
STILL = 1e-6  # (0.1 %)² of a state: an error beside less motion than that is not measured by the motion
SIZE = 0.01  # root mean square over cells of a small difference |d psi|, as in the plans of the gate


@dataclass(frozen=True)
class Universes:
    """Universes that a training continues, with a small difference of each that grows along.

    Attributes:
        states: The universes.
        nudge: float32 [B, 2d, H, W].
    """

    states: Visited
    nudge: Tensor

    def __getitem__(self, rows: Tensor) -> Universes:
        """Return some of the universes."""
        return Universes(self.states[rows], self.nudge[rows])

    def __len__(self) -> int:
        return len(self.states)

    def put(self, rows: Tensor, others: Universes) -> None:
        """Replace some of the universes, without their gradients."""
        ours, theirs = self.states, others.states
        ours.x[rows], ours.seeds[rows], ours.clock[rows] = theirs.x.detach(), theirs.seeds, theirs.clock
        if ours.memory is not None and theirs.memory is not None:
            ours.memory[rows] = theirs.memory.detach()
        self.nudge[rows] = others.nudge.detach()


@dataclass(frozen=True)
class Statistics:
    """Averages over universes.

    Attributes:
        activity: Scalar.
        memory: Per lag, [lags].
        spectrum: log of the radial structure factor, [shells].
        tangent: log2 of the growth of a small difference over K steps, scalar.
    """

    activity: Tensor
    memory: Tensor
    spectrum: Tensor
    tangent: Tensor

    @classmethod
    def mean(cls, several: Iterable[Statistics]) -> Statistics:
        """Average over several batches."""
        rows = [(one.activity, one.memory, one.spectrum, one.tangent) for one in several]
        return cls(*(torch.stack(column).mean(0) for column in zip(*rows, strict=True)))


@dataclass(frozen=True)
class Course:
    """Holds the course of a law over K steps.

    Attributes:
        path: States before the first and after each step, float32 [K + 1, B, 2d, H, W].
        statistics: Of these universes.
        end: The universes afterwards, their differences shrunk to `SIZE` again.
    """

    path: Tensor
    statistics: Statistics
    end: Universes


def follow(
    manifest: Manifest, network: nn.Module, start: Universes, steps: int, gamma: float, lags: tuple[int, ...]
) -> Course:
    """Step universes and their nudged copies K times; differentiable.

    Args:
        manifest: Of the law.
        network: Its network.
        start: The universes.
        steps: K.
        gamma: Damping per step.
        lags: Steps after which the memory of the first state counts, each at most K.
    """
    n, states = len(start), start.states
    memory = None if states.memory is None else torch.cat([states.memory] * 2)
    both = torch.cat([states.x, states.x + start.nudge])
    now = Visited(both, memory, torch.cat([states.seeds] * 2), torch.cat([states.clock] * 2))
    path = [states.x]
    for _ in range(steps):
        now = now.next(manifest, network, gamma)
        path.append(now.x[:n])
    whole = torch.stack(path)
    apart = now.x[n:] - now.x[:n]
    grown, before = (part.square().sum(1).mean((1, 2)).add(TINY) for part in (apart, start.nudge))
    statistics = Statistics(
        (whole[1:] - whole[:-1]).square().sum(2).add(TINY).sqrt().mean(),
        torch.stack([overlap(whole[0], whole[lag]) for lag in lags]),
        structure_factor(whole[-1]),
        (grown / before).log2().mean() / 2,
    )
    nudge = apart * (SIZE / grown.sqrt())[:, None, None, None]
    return Course(whole, statistics, Universes(now[:n], nudge))


def aligned(manifest: Manifest, network: nn.Module, states: Visited, seed: int, gamma: float) -> Universes:
    """Return later states of the same universes with differences that have turned towards the most growing one."""
    noise = torch.randn(states.x.shape, generator=torch.Generator().manual_seed(seed))
    now = Universes(states, noise * (SIZE / states.x.shape[1] ** 0.5))
    with torch.no_grad():
        for _ in range(5):
            now = follow(manifest, network, now, 10, gamma, (10,)).end
    return now


def overlap(a: Tensor, b: Tensor) -> Tensor:
    """Return the mean alignment |<a, b>| / (|a| |b|) of two states [B, 2d, H, W] over cells and universes.

    With d = 1, beside a constant channel: see `leym.physics.reference`.
    """
    return alignment(a, b).mean()


def structure_factor(x: Tensor) -> Tensor:
    """Return the log of the mean power per shell of |k|, over universes and channels: [B, 2d, H, W] -> [shells]."""
    re, im = x.chunk(2, 1)
    power = torch.fft.fft2(torch.complex(re, im), norm="ortho").abs().square().sum(1).mean(0)
    shell, counts = _shells(x.shape[2], x.shape[3])
    total = torch.zeros(len(counts)).index_add(0, shell, power.flatten())
    return (total / counts + TINY).log()


@cache
def _shells(height: int, width: int) -> tuple[Tensor, Tensor]:
    """Return the shell of every cell of an FFT, doubling in width outwards, and the number of cells in each."""
    side = min(height, width)
    ky, kx = torch.fft.fftfreq(height, 1 / side), torch.fft.fftfreq(width, 1 / side)
    k = torch.hypot(ky[:, None], kx[None]).flatten()
    places = torch.where(k > 0, 1 + (2 * k.clamp_min(1).log2()).floor(), 0).long()
    _, shell, counts = places.unique(return_inverse=True, return_counts=True)
    return shell, counts.float()


@dataclass(frozen=True)
class Weights:
    """Weights of the parts of the loss."""

    one_step: float = 1.0
    rollout: float = 1.0
    activity: float = 20.0  # (log of a ratio)²: 5 % is 0.0025, and a slow law misses it by turning a little faster
    memory: float = 1.0
    spectrum: float = 0.1
    tangent: float = 5.0  # small beside the others: 5 % of an exponent of 0.02 is (0.014)²
    drift: float = 1.0

    def of(self, parts: dict[str, Tensor]) -> Tensor:
        """Return the weighted sum of the parts."""
        return torch.stack([getattr(self, name) * value for name, value in parts.items()]).sum()


def paths(found: Course, wanted: Course) -> dict[str, Tensor]:
    """Return the parts of the loss that compare universes."""
    error = (found.path[1:] - wanted.path[1:]).square().mean((1, 2, 3, 4))
    moved = (wanted.path[1:] - wanted.path[:1]).square().mean((1, 2, 3, 4))
    moved = moved + STILL * wanted.path[0].square().mean() + TINY
    relative = error / moved
    return {"one_step": relative[0], "rollout": relative.mean()}


def statistics(found: Statistics, wanted: Statistics) -> dict[str, Tensor]:
    """Return the parts of the loss that compare averages."""
    rest = (1 - wanted.memory).clamp_min(0.01)
    return {
        "activity": (found.activity.clamp_min(1e-6) / wanted.activity.clamp_min(1e-6)).log().square(),
        "memory": ((found.memory - wanted.memory) / rest).square().mean(),
        "spectrum": (found.spectrum - wanted.spectrum).square().mean(),
        "tangent": (found.tangent - wanted.tangent).square(),
    }
