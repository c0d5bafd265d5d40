"""Steering of a run: gamma schedules and interventions, and at which steps they act.

Both act between two bursts, which end where something changes. The step from s to s + 1 has the gamma whose start is
the largest up to s. An intervention at step s changes the state after step s has been recorded and saved, and before
that step is made, so a group that is taken out at step s, or goes back to it, meets the intervention again.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from leym.contract.gamma import Schedule, gamma_at
from leym.contract.interventions import (
    AnyIntervention,
    Collapse,
    Disc,
    Noise,
    Paint,
    Rectangle,
    SetCells,
    Vortex,
    Wave,
)
from leym.laws.bundle import Manifest
from leym.physics import interventions as physics
from leym.physics.step import to_real


@dataclass(frozen=True)
class Steering:
    """Changes to the members of a run at given steps.

    Attributes:
        schedules: gamma of the members whose gamma is a schedule, by place; the others have a constant one.
        interventions: of all members; those of one step in their order.
        states: the uploaded states that they name, complex64 [H, W, d] by id.
    """

    schedules: Mapping[int, Schedule] = field(default_factory=dict)
    interventions: tuple[AnyIntervention, ...] = ()
    states: Mapping[str, NDArray[np.complex64]] = field(default_factory=dict, repr=False)

    @cached_property
    def steps(self) -> list[int]:
        """Steps at which something changes, increasing."""
        distinct = {id(schedule): schedule for schedule in self.schedules.values()}.values()
        found = {step for schedule in distinct for step, _ in schedule}
        return sorted(found | {one.step for one in self.interventions if one.step is not None})

    def next_after(self, step: int, last: int) -> int:
        """Return the first step after `step` at which something changes; `last` if there is none before that."""
        at = bisect_right(self.steps, step)
        return min(self.steps[at], last) if at < len(self.steps) else last

    def acts_at(self, step: int) -> bool:
        """Return True if something changes at a step."""
        at = bisect_right(self.steps, step)
        return at > 0 and self.steps[at - 1] == step

    def gammas(self, constant: NDArray[np.float32], places: NDArray[np.int64], step: int) -> NDArray[np.float32]:
        """Return the gamma of members for the step from `step` to `step` + 1: float32 [n].

        Args:
            constant: gamma of all members without a schedule, float32 [N].
            places: the members, int64 [n].
            step: their step.
        """
        found = constant[places]
        for i, place in enumerate(places.tolist() if self.schedules else ()):
            if place in self.schedules:
                found[i] = gamma_at(self.schedules[place], step)
        return found

    def intervene(self, x: Tensor, seeds: NDArray[np.int64], step: int, manifest: Manifest) -> Tensor:
        """Return states after all interventions of a step.

        Args:
            x: states, float32 [n, 2d, H, W].
            seeds: of the universes, int64 [n].
            step: the step.
            manifest: of the law, which says the constraint and the boundary.
        """
        for number, one in enumerate(one for one in self.interventions if one.step == step):
            x = apply(one, x, seeds, step, number, manifest, self.states)
        return x


@torch.no_grad()
def apply(
    one: AnyIntervention,
    x: Tensor,
    seeds: NDArray[np.int64],
    step: int,
    number: int,
    manifest: Manifest,
    states: Mapping[str, NDArray[np.complex64]],
) -> Tensor:
    """Return states after one intervention, which is the `number`-th of its step; other arguments as above."""
    grid, periodic = (x.shape[-2], x.shape[-1]), manifest.boundary == "periodic"
    match one:
        case Vortex():
            to = physics.vortex(x, one.y, one.x, one.charge, periodic=periodic)
        case Wave():
            to = physics.wave(x, one.ky, one.kx)
        case Noise():
            to = physics.noise(x, one.strength, seeds, step, number)
        case Collapse(to="drawn"):
            to = physics.collapse_drawn(x, seeds, step, number)
        case Collapse():
            to = physics.collapse(x)
        case SetCells(state=str(state)):
            to = to_real(torch.from_numpy(np.array(states[state])[None])).to(x.device)
        case Paint(vector=None, channel=int(channel)):
            to = physics.filled(physics.one_channel(manifest.d_state, channel, one.phase), x)
        case SetCells() | Paint():
            to = physics.filled(_complex(one.vector or ()), x)
    return physics.changed(x, to, _cells(one, grid, periodic), manifest.constraint)


def _cells(one: AnyIntervention, grid: tuple[int, int], periodic: bool) -> NDArray[np.bool_]:
    region = Disc(y=one.y, x=one.x, radius=one.radius) if isinstance(one, Vortex | Paint) else one.region
    match region:
        case Disc(y=y, x=x, radius=radius):
            return physics.disc(grid, y, x, radius, periodic=periodic)
        case Rectangle(y=y, x=x, height=height, width=width):
            return physics.rectangle(grid, int(y), int(x), height, width, periodic=periodic)
        case None:
            return np.ones(grid, np.bool_)


def _complex(pairs: Sequence[tuple[float, float]]) -> NDArray[np.complex128]:
    return np.array([complex(*pair) for pair in pairs], np.complex128)
