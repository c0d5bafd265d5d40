"""All teachers by name."""

from __future__ import annotations

from leym.training.teachers.base import Padding, Teacher
from leym.training.teachers.ginzburg_landau import GinzburgLandau
from leym.training.teachers.kuramoto import Kuramoto

TEACHERS: dict[str, type[Teacher]] = {kind.name: kind for kind in (Kuramoto, GinzburgLandau)}


def teacher(name: str, *, padding: Padding = "periodic", preset: str | None = None, **parameters: float) -> Teacher:
    """Make a teacher from its name; parameters that are not given come from the preset, then from the defaults.

    Raises:
        ValueError: an unknown name, padding, preset or parameter, or a value outside its range.
    """
    if name not in TEACHERS:
        raise ValueError(f"teacher = {name!r}: expected one of {', '.join(TEACHERS)}")
    return TEACHERS[name](padding=padding, preset=preset, **parameters)
