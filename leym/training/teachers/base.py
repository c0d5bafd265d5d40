"""Protocol of a teacher: a lattice model with known physics, in the state space of a law."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf, isfinite
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from leym.physics.initial import draws
from leym.physics.step import EPSILON

PADDINGS = ("periodic", "zero")
SMALLEST = 4  # cells per side

Padding = Literal["periodic", "zero"]
Start = Callable[[np.random.Generator, int, int], NDArray[np.float64]]  # (random, height, width) -> [2d, H, W]


@dataclass(frozen=True)
class Parameter:
    """A number of a model, with the range in which the model's explicit step is worth running.

    Attributes:
        default: value of the default preset.
        low: smallest value that is allowed.
        high: largest value that is allowed.
        meaning: one line for people.
    """

    default: float
    low: float
    high: float
    meaning: str


class Teacher(ABC):
    """A lattice model; subclasses give its step, its start states and its observables.

    Attributes:
        name: of the model, as in `leym.training.teachers.catalog.TEACHERS`.
        d_state: complex channels d of a cell.
        constraint: "unit" if the model keeps every cell a unit vector of C^d, "none" if cells are free.
        reach: cells per side of the neighbourhood of one step, minus the cell itself, over 2: 1 for 3 × 3 cells.
        known: the parameters, by name; one is `dt`, the time per step.
        presets: values of parameters that make a regime, by the regime's name.
        padding: "periodic" for a torus, or "zero": a neighbour outside the grid contributes nothing.
        parameters: values of this teacher, complete.
    """

    name: ClassVar[str]
    d_state: ClassVar[int] = 1
    constraint: ClassVar[Literal["unit", "none"]]
    reach: ClassVar[int] = 1
    known: ClassVar[Mapping[str, Parameter]]
    presets: ClassVar[Mapping[str, Mapping[str, float]]] = {}

    def __init__(self, *, padding: str = "periodic", preset: str | None = None, **parameters: float) -> None:
        """Take the defaults, then the preset, then the parameters given by name.

        Raises:
            ValueError: an unknown padding, preset or parameter, or a value outside its range.
        """
        if padding not in PADDINGS:
            raise ValueError(f"padding = {padding!r}: expected one of {', '.join(PADDINGS)}")
        if preset is not None and preset not in self.presets:
            raise ValueError(f"preset = {preset!r}: {self.name} has {', '.join(self.presets) or 'no presets'}")
        if unknown := sorted(parameters.keys() - self.known.keys()):
            raise ValueError(f"{unknown[0]}: {self.name} has the parameters {', '.join(self.known)}")
        defaults = {key: parameter.default for key, parameter in self.known.items()}
        self.padding: Padding = "zero" if padding == "zero" else "periodic"
        self.parameters = {**defaults, **(self.presets[preset] if preset is not None else {}), **parameters}
        for key, value in self.parameters.items():
            low, high = self.known[key].low, self.known[key].high
            if not (isfinite(value) and low <= value <= high):
                raise ValueError(f"{key} = {value}: {self.name} allows {low:g} to {high:g} ({self.known[key].meaning})")

        if self.parameters["dt"] > self.longest_dt():
            raise ValueError(
                f"dt = {self.parameters['dt']}: the step of {self.name} with these parameters is stable up to "
                f"{self.longest_dt():.3g}"
            )

    def longest_dt(self) -> float:
        """Return the longest dt for which the shortest waves of a uniform state do not grow, infinite if unknown."""
        return inf

    @property
    @abstractmethod
    def starts(self) -> Mapping[str, Start]:
        """Return the kinds of start states, by name: each draws one universe, [2d, H, W]."""

    @abstractmethod
    def advance(self, x: Tensor) -> Tensor:
        """Advance every universe by one step: float32 [B, 2d, H, W] to the same. Universes stay independent."""

    @abstractmethod
    def observe(self, trajectory: Tensor, every: int = 1) -> dict[str, Tensor]:
        """Measure each universe of a trajectory.

        Args:
            trajectory: float32 [T, B, 2d, H, W], T ≥ 2 frames at equal intervals.
            every: steps between two frames.

        Returns:
            Observables by name, each float64 [B]; the class's docstring defines them. NaN where a universe does not
            show what an observable measures, for example the wavelength of a uniform state.
        """

    def start(self, batch: int, grid: tuple[int, int], seed: int, kind: str | None = None) -> Tensor:
        """Draw start states: universe b depends on the seed and on b, not on the batch.

        Args:
            batch: universes B.
            grid: H and W in cells.
            seed: of all streams, 0 ≤ seed < 2^64.
            kind: a name in `starts`; None lets each universe's stream choose one.

        Returns:
            float32 [B, 2d, H, W].

        Raises:
            ValueError: an unknown kind, or a number out of range.
        """
        if kind is not None and kind not in self.starts:
            raise ValueError(f"kind = {kind!r}: {self.name} starts from {', '.join(self.starts)}")
        if batch < 1:
            raise ValueError(f"batch = {batch}: at least 1")
        if min(grid) < SMALLEST:
            raise ValueError(f"grid = {list(grid)}: at least {SMALLEST} cells per side")
        if not 0 <= seed < 2**64:
            raise ValueError(f"seed = {seed}: 0 to 2^64 - 1")
        found = np.stack([self._universe(seed, number, grid, kind) for number in range(batch)])
        return torch.from_numpy(found).float()

    def _universe(self, seed: int, number: int, grid: tuple[int, int], kind: str | None) -> NDArray[np.float64]:
        random = draws(seed, stream=number)
        drawn = list(self.starts)[int(random.integers(len(self.starts)))]
        return self.starts[kind or drawn](random, *grid)

    def run(self, x: Tensor, steps: int, every: int = 1) -> Tensor:
        """Advance the states x and return the frames 0, every, 2 · every, … ≤ steps: float32 [T, B, 2d, H, W]."""
        frames = [x]
        for step in range(1, steps + 1):
            x = self.advance(x)
            if step % every == 0:
                frames.append(x)
        return torch.stack(frames)


def unit(x: Tensor) -> Tensor:
    """Return the states with every cell divided by its norm over the channels, as the step of a unit law does."""
    return x / (x.square().sum(dim=1, keepdim=True).sqrt() + EPSILON)
