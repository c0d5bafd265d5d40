"""Brings stored weights near the fp32 law by the errors of one or two steps: many cheap updates before the costly ones.

    loss = mean over k = 1 … K of mean |q_k - p_k|² / mean |p_k - p_0|²       p: the fp32 law, q: the stored one

over universes that the fp32 law goes on with, and as many that the stored law goes on with. An update costs 2 K steps
of the stored law, where one of `training.refine` follows long paths and their small differences. Small networks, whose
last layer can make good for the error of the layers before it, take a rate that would ruin larger ones.
"""

from __future__ import annotations

from collections.abc import Callable
from math import cos, pi

import torch
from torch import Tensor, nn

from leym.laws.bundle import Manifest
from leym.training.calibration.states import Visited
from leym.training.refinement.courses import STILL, TINY, Universes
from leym.training.refinement.fake_quantization import FakeQuantized

STEPS = 2
WithWeights = Callable[[dict[str, Tensor]], nn.Module]


def distil(
    manifest: Manifest,
    parent: nn.Module,
    with_weights: WithWeights,
    fake: FakeQuantized,
    pools: list[Universes],
    *,
    updates: int,
    rate: float,
    batch: int,
    gamma: float,
    clip: float,
    generator: torch.Generator,
    on_update: Callable[[int, dict[str, float]], None] = lambda number, row: None,
) -> list[dict[str, float]]:
    """Update the weights, and let both pools go on; return the loss of each update.

    Args:
        manifest: Of the law.
        parent: The fp32 network.
        with_weights: Makes the network with other weights.
        fake: The weights that learn.
        pools: Universes of the fp32 law, and of the stored one.
        updates: Number of updates.
        rate: Learning rate at the start; it falls to 1 % along half a cosine.
        batch: Universes of each pool in an update.
        gamma: Damping per step.
        clip: Largest norm of the gradient.
        generator: Draws the universes of an update.
        on_update: Called after every update with the number of updates that are done and the loss.
    """
    optimiser = torch.optim.Adam(list(fake.parameters()), rate)
    curve = []
    for number in range(updates):
        for group in optimiser.param_groups:
            group["lr"] = rate * falling(number, updates)
        rows = [torch.randperm(len(pool), generator=generator)[:batch] for pool in pools]
        network, loss = with_weights(fake.decoded()), torch.zeros(())
        ends: list[Visited] = []
        for pool, chosen in zip(pools, rows, strict=True):
            start = pool[chosen].states
            with torch.no_grad():
                wanted = _path(manifest, parent, start, gamma)
            found = _path(manifest, network, start, gamma)
            loss = loss + error(start, found, wanted) / len(pools)
            ends.append(wanted[-1] if not ends else found[-1])
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        if not torch.isfinite(torch.nn.utils.clip_grad_norm_(fake.parameters(), clip)):
            raise ValueError(
                f"distillation, update {number + 1}: the gradient is not finite; rate = {rate:g} is too high"
            )
        optimiser.step()
        for pool, chosen, end in zip(pools, rows, ends, strict=True):
            pool.put(chosen, Universes(end, pool.nudge[chosen]))
        curve.append({"loss": float(loss.detach())})
        on_update(number + 1, curve[-1])
    return curve


def falling(number: int, updates: int) -> float:
    """Return the share of the learning rate that an update gets: from 1 to 0.01 along half a cosine."""
    return 0.01 + 0.99 * (1 + cos(pi * number / updates)) / 2


def error(start: Visited, found: list[Visited], wanted: list[Visited]) -> Tensor:
    """Return the loss of one path: mean over steps of |q_k - p_k|² relative to the way that the fp32 law has gone."""
    still = STILL * start.x.square().mean() + TINY
    parts = [
        (q.x - p.x).square().mean() / ((p.x - start.x).square().mean() + still)
        for q, p in zip(found, wanted, strict=True)
    ]
    return torch.stack(parts).mean()


def _path(manifest: Manifest, network: nn.Module, start: Visited, gamma: float) -> list[Visited]:
    path = [start]
    for _ in range(STEPS):
        path.append(path[-1].next(manifest, network, gamma))
    return path[1:]
