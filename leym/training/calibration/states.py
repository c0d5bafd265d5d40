"""States that a law visits, for calibration: drawn by seed, so that the same law and seed give the same bytes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from leym.contract.fidelity_plan import Plan
from leym.engine.run import initial_state
from leym.laws.bundle import Bundle, Manifest
from leym.physics.philox import uniform
from leym.physics.step import step, to_real

SEED = 5_000_000  # of the first calibration universe; plans of the gate begin at 1,000,000


@dataclass(frozen=True)
class Visited:
    """States of B universes, with all that their next step depends on.

    Attributes:
        x: float32 [B, 2d, H, W].
        memory: float32 [B, M, H/4, W/4] of a recurrent law, else None.
        seeds: int64 [B].
        clock: int64 [B], the step that each universe is at.
    """

    x: Tensor
    memory: Tensor | None
    seeds: Tensor
    clock: Tensor

    def __getitem__(self, rows: slice | Tensor) -> Visited:
        """Return some of the universes."""
        memory = None if self.memory is None else self.memory[rows]
        return Visited(self.x[rows], memory, self.seeds[rows], self.clock[rows])

    def __len__(self) -> int:
        return len(self.x)

    def with_x(self, x: Tensor) -> Visited:
        """Return the same universes in other states."""
        return Visited(x, self.memory, self.seeds, self.clock)

    def inputs(self, manifest: Manifest) -> list[Tensor]:
        """Return the arguments of the network for the next step."""
        found = [self.x] if self.memory is None else [self.x, self.memory]
        return [*found, self._uniform()] if manifest.stochastic else found

    def next(self, manifest: Manifest, network: nn.Module, gamma: float) -> Visited:
        """Return the universes one step later; differentiable."""
        damping = torch.full((len(self), 1, 1, 1), gamma)
        draws = self._uniform() if manifest.stochastic else None
        x, memory, _ = step(
            network,
            manifest.form,
            self.x,
            damping,
            self.memory,
            draws,
            constraint=manifest.constraint,
            living=manifest.living,
            periodic=manifest.boundary == "periodic",
        )
        return Visited(x, memory, self.seeds, self.clock + 1)

    def _uniform(self) -> Tensor:
        return uniform(self.seeds, self.clock, (self.x.shape[2], self.x.shape[3]))


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread, because sums over several threads may differ in their last bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def check_seeds(seeds: range, plan: Plan) -> None:
    """Check that no judgement by a plan uses a calibration seed.

    Raises:
        ValueError: Both use a seed.
    """
    judged = range(plan.pilot_seeds.start, plan.seed + 3 * max(plan.members, plan.most))
    if seeds.start < judged.stop and judged.start < seeds.stop:
        raise ValueError(
            f"seed = {seeds.start}: calibration would use seeds {seeds.start} to {seeds.stop - 1}, and the judgement"
            f" uses {judged.start} to {judged.stop - 1}; they must not overlap"
        )


@torch.no_grad()
def attractor(
    law: Bundle,
    network: nn.Module,
    grid: tuple[int, int],
    *,
    gamma: float = 0.01,
    seeds: range = range(SEED, SEED + 16),
    first: int = 120,
    last: int = 200,
    every: int = 20,
) -> Visited:
    """Run universes from the law's own start; return their states at first, first + every, …, last, one after another.

    Args:
        law: The law.
        network: Its network, usually in fp32.
        grid: (H, W) in cells.
        gamma: Damping per step.
        seeds: One per universe.
        first: First step that is kept; a law needs about a hundred steps to reach its attractor.
        last: Last step.
        every: Steps between two kept states.

    Raises:
        ValueError: The universes do not stay finite.
    """
    manifest = law.manifest
    start, d = manifest.default_start, manifest.d_state
    drawn = [initial_state(start, grid, d, seed, manifest.constraint) for seed in seeds]
    x = to_real(torch.from_numpy(np.stack(drawn)))
    memory = None
    if manifest.architecture_info.memory:
        memory = torch.zeros(len(seeds), *network.memory_shape(grid))  # type: ignore[operator]
    now = Visited(x, memory, torch.tensor(list(seeds)), torch.zeros(len(seeds), dtype=torch.int64))
    kept = []
    for at in range(1, last + 1):
        now = now.next(manifest, network, gamma)
        if at >= first and (at - first) % every == 0:
            kept.append(now)
    if not torch.isfinite(kept[-1].x).all():
        raise ValueError(f"{law.ref}: its universes do not stay finite, so there is nothing to calibrate on")
    memories = [one.memory for one in kept if one.memory is not None]
    return Visited(
        torch.cat([one.x for one in kept]),
        torch.cat(memories) if memories else None,
        torch.cat([one.seeds for one in kept]),
        torch.cat([one.clock for one in kept]),
    )
