"""A pool of universes that a training continues, and damage to them.

A rollout of a few steps teaches a law nothing about the states that it reaches after hundreds. So states that a rollout
ends with go back into a pool, and later updates continue them: A. Mordvintsev, E. Randazzo, E. Niklasson, M. Levin,
"Growing Neural Cellular Automata", Distill (2020), doi 10.23915/distill.00023. Gradients do not cross the pool, which
truncates back-propagation through time.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


class Pool:
    """States of many universes between updates.

    Attributes:
        states: float32 [P, 2d, H, W].
        memory: of a recurrent law, float32 [P, …]; None otherwise.
        losses: Loss of each universe when it was put back, float32 [P]; 0 for one that has not been drawn yet.
    """

    def __init__(self, states: Tensor, memory: Tensor | None) -> None:
        self.states, self.memory = states, memory
        self.losses = torch.zeros(states.shape[0])

    def draw(self, n: int, random: np.random.Generator) -> Tensor:
        """Choose n different universes, and return their places, the one with the highest loss first: int64 [n]."""
        places = torch.from_numpy(random.choice(self.states.shape[0], n, replace=False))
        return places[self.losses[places].argsort(descending=True, stable=True)]

    def take(self, places: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return copies of the states and memories at these places."""
        at = places.to(self.states.device)
        return self.states[at], None if self.memory is None else self.memory[at]

    def put(self, places: Tensor, states: Tensor, memory: Tensor | None, losses: Tensor) -> None:
        """Store states, memories and losses [n] at these places, without their gradients."""
        at = places.to(self.states.device)
        self.states[at] = states.detach()
        if self.memory is not None and memory is not None:
            self.memory[at] = memory.detach()
        self.losses[places] = losses.detach().float().cpu()


def damaged(x: Tensor, random: np.random.Generator, rate: float, radius: tuple[float, float], unit: bool) -> Tensor:
    """Destroy a disc in some universes: float32 [B, 2d, H, W] -> the same.

    Args:
        x: states.
        random: the numbers of this update.
        rate: probability that a universe is damaged.
        radius: smallest and largest radius of the disc, as shares of the shorter side of the grid.
        unit: fill the disc with random unit vectors of C^d, because cells of norm 0 are no states of a unit law;
            otherwise with zeros.
    """
    n, _, height, width = x.shape
    hit = random.random(n) < rate
    centre, size = random.random((n, 2)), random.uniform(*radius, n) * min(height, width)
    noise = random.standard_normal(x.shape, dtype=np.float32) if unit else None
    rows, columns = np.arange(height)[:, None], np.arange(width)[None]
    mask = np.zeros((n, 1, height, width), bool)
    for i in np.flatnonzero(hit):
        y, x0 = centre[i] * (height, width)
        mask[i, 0] = (rows - y) ** 2 + (columns - x0) ** 2 <= size[i] ** 2
    inside = torch.from_numpy(mask).to(x.device)
    if noise is None:
        return torch.where(inside, torch.zeros_like(x), x)
    filling = torch.from_numpy(noise).to(x.device)
    return torch.where(inside, filling / filling.square().sum(1, keepdim=True).sqrt(), x)
