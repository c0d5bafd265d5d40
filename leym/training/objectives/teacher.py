"""Objective `teacher`: learn the step of a known model, on the states that the law itself visits.

A batch x_0 is rolled out by the law L for K steps, x_t = L(x_(t-1)), and by the teacher T from the same states,
y_t = T^t(x_0). With |·|² the mean over cells, channels and universes:

    loss = one_step · |x_1 - y_1|² / |y_1 - x_0|²  +  rollout · mean over t = 2 … K of |x_t - y_t|² / |y_t - x_0|²

Both terms are relative to the change that the teacher makes: 1 is the loss of a law that does nothing. With
rollout = 0 the loss is one_step · mean over t of |L(x_t) - T(x_t)|² / |T(x_t) - x_t|², along the law's own way, without
a gradient from step to step.

Universes continue from the law's state x_K, or from the teacher's y_K (settings `own`). So x_0 are states that the law
reaches as well as those that the teacher reaches, and in both the teacher says what comes next: S. Ross, G. Gordon,
D. Bagnell, "A reduction of imitation learning and structured prediction to no-regret online learning" (DAgger),
AISTATS 2011, arXiv:1011.0686.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from leym.laws.bundle import Manifest
from leym.training.objective_settings import TeacherSettings
from leym.training.objectives.base import Judgement, Rollout
from leym.training.seeds import generator
from leym.training.teachers.base import Padding, Teacher
from leym.training.teachers.catalog import teacher

TINY = 1e-12


class TeacherObjective:
    """Compares the law with a teacher; the module's docstring has the loss."""

    def __init__(self, settings: TeacherSettings, manifest: Manifest, grid: tuple[int, int]) -> None:
        self._settings, self._grid = settings, grid
        padding = cast(Padding, manifest.boundary)
        self.teacher = teacher(settings.teacher, padding=padding, preset=settings.preset, **settings.parameters)
        check_fit(self.teacher, manifest)
        if settings.one_step == 0 and settings.rollout == 0:
            raise ValueError("objective.one_step = 0 and objective.rollout = 0: one of them must be positive")
        self.truncated = settings.rollout == 0
        if settings.starts is not None:  # an unknown kind is refused before the training
            self.starts(1, 0)

    def starts(self, n: int, seed: int) -> Tensor:
        """Draw n start states of the teacher: float32 [n, 2d, H, W]."""
        return self.teacher.start(n, self._grid, seed, self._settings.starts)

    @torch.no_grad()
    def pool(self, n: int, seed: int) -> Tensor:
        """Draw n start states and let the teacher advance each by its own number of steps, 0 to `age`."""
        x = self.starts(n, seed)
        ages = torch.from_numpy(generator(seed, "pool").integers(0, self._settings.age + 1, n))
        for age in range(int(ages.max())):
            growing = ages > age
            x[growing] = self.teacher.advance(x[growing])
        return x

    def judge(self, rollout: Rollout) -> Judgement:
        """Compute the loss of a rollout."""
        if self.truncated:
            return self._single_steps(rollout)
        start, own = rollout.states[0], rollout.states[1:]
        target, errors = start, []
        for state in own:
            target = self._advance(target)
            errors.append(relative_error(state, target, start))
        later = torch.stack(errors[1:]).mean(0) if len(errors) > 1 else torch.zeros_like(errors[0])
        each = self._settings.one_step * errors[0] + self._settings.rollout * later
        parts = {"one_step": errors[0].mean().detach(), "rollout": later.mean().detach()}
        return Judgement(each.mean(), each.detach(), parts, self._kept(rollout, target))

    def _single_steps(self, rollout: Rollout) -> Judgement:
        errors, target = [], rollout.states[0]
        for before, after in zip(rollout.states, rollout.states[1:], strict=False):
            target = self._advance(before.detach())
            errors.append(relative_error(after, target, before.detach()))
        each = self._settings.one_step * torch.stack(errors).mean(0)
        return Judgement(each.mean(), each.detach(), {"one_step": each.mean().detach()}, self._kept(rollout, target))

    @torch.no_grad()
    def _advance(self, x: Tensor) -> Tensor:
        return self.teacher.advance(x)

    def _kept(self, rollout: Rollout, target: Tensor) -> Tensor:
        own = torch.from_numpy(rollout.random.random(target.shape[0]) < self._settings.own).to(target.device)
        return torch.where(own[:, None, None, None], rollout.last.detach(), target)


def relative_error(found: Tensor, wanted: Tensor, before: Tensor) -> Tensor:
    """Return |found - wanted|² of each universe over the batch's mean |wanted - before|²: float32 [B].

    The scale is that of the batch, since a single universe may stand still.
    """
    error = (found - wanted).square().mean((1, 2, 3))
    return error / ((wanted - before).square().mean() + TINY)


def check_fit(known: Teacher, manifest: Manifest) -> None:
    """Check that law and teacher share a state space.

    Raises:
        ValueError: they differ in channels or constraint.
    """
    for key, have, want in (
        ("law.d_state", manifest.d_state, known.d_state),
        ("law.constraint", manifest.constraint, known.constraint),
    ):
        if have != want:
            raise ValueError(f"{key} = {have!r}: teacher {known.name!r} has {want!r}")
