"""Random numbers of a training: a pure function of its seed, the use, and the number of the update.

No random number depends on how often a generator was called before, so a training that is resumed draws the same ones.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from leym.physics.initial import draws

Use = Literal["weights", "pool", "update", "plot"]
_USES: dict[str, int] = {"weights": 2, "pool": 3, "update": 4, "plot": 5}  # streams 0 and 1 are those of a universe


def generator(seed: int, use: Use, number: int = 0) -> np.random.Generator:
    """Return the generator of one use in one update: Philox keyed by the seed and a stream of its own."""
    return draws(seed, (_USES[use] << 48) + number)


def new_seed(random: np.random.Generator) -> int:
    """Draw the seed of a start state, below 2^63."""
    return int(random.integers(2**63))
