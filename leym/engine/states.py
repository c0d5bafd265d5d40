"""States of universes on the host, and the places of members in their run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[Any]]
Places = NDArray[np.int64]  # positions of members in their run, increasing


@dataclass(frozen=True)
class Checkpoint:
    """State from which one universe continues at a step, bit for bit.

    Attributes:
        step: the step.
        arrays: "psi" complex64 [H, W, d]; "memory" float32 [M, H/4, W/4] of a law that has one.
    """

    step: int
    arrays: Arrays


@dataclass(frozen=True)
class GroupState:
    """State from which n members that step together continue, bit for bit.

    Attributes:
        step: the step of all of them.
        places: which members they are.
        arrays: "psi" complex64 [n, H, W, d]; "memory" float32 [n, M, H/4, W/4] of a law that has one.
    """

    step: int
    places: Places
    arrays: Arrays

    def of(self, chosen: NDArray[Any]) -> GroupState:
        """Return the state of some of the members.

        Args:
            chosen: bool [n], or int64 positions in `places`.
        """
        return GroupState(self.step, self.places[chosen], {name: a[chosen] for name, a in self.arrays.items()})


def span(indices: NDArray[np.int64]) -> slice | NDArray[np.int64]:
    """Return indices as a slice where each follows the one before, which is faster to read and to write."""
    first, n = int(indices[0]), len(indices)
    follow = int(indices[-1]) - first + 1 == n and bool((indices[1:] - indices[:-1] == 1).all())
    return slice(first, first + n) if follow else indices
