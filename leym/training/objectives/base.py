"""Protocol of an objective, and the rollout that it judges."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from leym.training.trained_law import TrainedLaw


@dataclass
class Rollout:
    """Some steps of a batch of universes, with gradients through all of them.

    Attributes:
        law: The law.
        states: K + 1 states, the start first: float32 [B, 2d, H, W] each.
        memory: Memory after the last step; None for a law without one.
        random: Random numbers of this update.
    """

    law: TrainedLaw
    states: list[Tensor]
    memory: Tensor | None
    random: np.random.Generator

    @classmethod
    def of(
        cls,
        law: TrainedLaw,
        x: Tensor,
        memory: Tensor | None,
        steps: int,
        random: np.random.Generator,
        *,
        truncated: bool = False,
    ) -> Rollout:
        """Step a batch.

        Args:
            law: The law.
            x: start states, float32 [B, 2d, H, W].
            memory: their memory.
            steps: number of steps.
            random: random numbers of this update.
            truncated: cut the gradient between any two steps.
        """
        states = [x]
        for _ in range(steps):
            before = states[-1].detach() if truncated else states[-1]
            after, memory = law.step(before, memory, draw_uniform(law, x, random))
            if truncated and memory is not None:
                memory = memory.detach()
            states.append(after)
        return cls(law, states, memory, random)

    @property
    def last(self) -> Tensor:
        """The states after the last step."""
        return self.states[-1]


def draw_uniform(law: TrainedLaw, x: Tensor, random: np.random.Generator) -> Tensor | None:
    """Draw the random numbers of one step of a stochastic law, float32 [B, 1, H, W]; None for any other law."""
    if not law.manifest.stochastic:
        return None
    return torch.from_numpy(random.random((x.shape[0], 1, *x.shape[2:]), dtype=np.float32)).to(x.device)


@dataclass(frozen=True)
class Judgement:
    """Loss of a rollout.

    Attributes:
        loss: What is minimised, a scalar with its gradient.
        per_universe: Loss of each universe, without gradient: float32 [B]. The highest begins anew.
        parts: Terms of the loss for the curve, by name, scalars without gradient.
        keep: States that go back into the pool, float32 [B, 2d, H, W]; None for those that the law ends with.
    """

    loss: Tensor
    per_universe: Tensor
    parts: dict[str, Tensor] = field(default_factory=dict)
    keep: Tensor | None = None


class Objective(Protocol):
    """Something that a law is trained towards.

    Attributes:
        truncated: Cut the gradient between any two steps of a rollout.
    """

    truncated: bool

    def starts(self, n: int, seed: int) -> Tensor:
        """Draw n start states: float32 [n, 2d, H, W], on the CPU."""

    def pool(self, n: int, seed: int) -> Tensor:
        """Draw the n states that a pool begins with: float32 [n, 2d, H, W], on the CPU."""

    def judge(self, rollout: Rollout) -> Judgement:
        """Compute the loss of a rollout."""
