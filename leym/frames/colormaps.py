"""Colour maps by name: uint8 [256, 3] each.

They are those of matplotlib, all CC0, and gray. viridis, magma, inferno and plasma (Smith and van der Walt) and cividis
(Nuñez et al.) are perceptually uniform; twilight (Bechtold) is so and cyclic.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

Colormap = Literal["viridis", "magma", "inferno", "plasma", "cividis", "gray", "twilight", "twilight_shifted"]
NAMES: tuple[str, ...] = get_args(Colormap)
CYCLIC = ("twilight", "twilight_shifted")  # the ends have the same colour


@cache
def colours(name: str) -> NDArray[Any]:
    """Return the colours of a map: uint8 [256, 3]. Raises KeyError for an unknown name."""
    with np.load(Path(__file__).with_name("colormaps.npz")) as maps:
        return np.asarray(maps[name])
