"""Stills of teachers: one row of frames of one universe."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from leym.frames.pictures import render
from leym.physics.step import to_complex
from leym.training.teachers.base import Teacher
from leym.training.teachers.landau_lifshitz import spins

GAP = 2  # pixels between frames
LINEAR = "channel_entropy"  # any field of linear colours

# What is shown of a model: real [T, H, W] of states [T, 2d, H, W], and the range of the colours. Others show ψ.
REAL: dict[str, tuple[Callable[[Tensor], Tensor], tuple[float, float]]] = {
    "excitable": (lambda x: x[:, 0], (0.0, 1.0)),
    "gray_scott": (lambda x: x[:, 1], (0.0, 0.4)),
    "landau_lifshitz": (lambda x: spins(x)[:, 2], (-1.0, 1.0)),
    "allen_cahn": (lambda x: x[:, 0], (-1.0, 1.0)),
    "swift_hohenberg": (lambda x: x[:, 0], (-1.0, 1.0)),
}


def coloured(name: str, x: Tensor) -> NDArray[np.uint8]:
    """Colour states of a model: float32 [T, 2d, H, W] -> uint8 [T, H, W, 3]."""
    if name in REAL:
        shown, limits = REAL[name]
        return render(LINEAR, shown(x).numpy(), limits=limits)
    return render("psi", to_complex(x).numpy())


def stills(
    model: Teacher, steps: Sequence[int], grid: tuple[int, int], seed: int, kind: str | None = None, scale: int = 2
) -> NDArray[np.uint8]:
    """Draw a universe at rising steps, side by side.

    Args:
        model: the teacher.
        steps: which frames.
        grid: H and W in cells.
        seed: of the start.
        kind: of the start; None draws it.
        scale: pixels per side of a cell.

    Returns:
        uint8 [scale · H, …, 3].

    Raises:
        ValueError: the steps do not rise.
    """
    if list(steps) != sorted(set(steps)) or not steps or steps[0] < 0:
        raise ValueError(f"steps = {list(steps)}: expected rising numbers from 0")
    x, at, frames = model.start(1, grid, seed, kind), 0, []
    for step in steps:
        x = model.run(x, step - at, every=max(step - at, 1))[-1]
        at = step
        frames.append(x[0])
    pictures: NDArray[Any] = coloured(model.name, torch.stack(frames)).repeat(scale, 1).repeat(scale, 2)
    spaced = np.pad(pictures, ((0, 0), (0, 0), (0, GAP), (0, 0)), constant_values=255)
    row: NDArray[np.uint8] = np.concatenate(list(spaced), axis=1)[:, :-GAP]
    return row
