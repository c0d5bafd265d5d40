"""All teachers by name."""

from __future__ import annotations

from leym.training.teachers.allen_cahn import AllenCahn
from leym.training.teachers.base import Teacher
from leym.training.teachers.excitable import Excitable
from leym.training.teachers.ginzburg_landau import GinzburgLandau
from leym.training.teachers.gray_scott import GrayScott
from leym.training.teachers.kuramoto import Kuramoto
from leym.training.teachers.landau_lifshitz import LandauLifshitz
from leym.training.teachers.swift_hohenberg import SwiftHohenberg

TEACHERS: dict[str, type[Teacher]] = {
    kind.name: kind
    for kind in (Kuramoto, GinzburgLandau, Excitable, GrayScott, LandauLifshitz, AllenCahn, SwiftHohenberg)
}


def teacher(name: str, *, padding: str = "periodic", preset: str | None = None, **parameters: float) -> Teacher:
    """Make a teacher from its name; parameters that are not given come from the preset, then from the defaults.

    Raises:
        ValueError: an unknown name, padding, preset or parameter, or a value outside its range.
    """
    if name not in TEACHERS:
        raise ValueError(f"teacher = {name!r}: expected one of {', '.join(TEACHERS)}")
    return TEACHERS[name](padding=padding, preset=preset, **parameters)
