"""Says which start states fit the constraint of a law. Torch-free."""

from __future__ import annotations

from leym.contract.spec import ComplexNoise, RandomState, Seed, Smooth, StoredState, Upload, Zeros
from leym.physics.constraint import Box, Constraint

Drawn = ComplexNoise | RandomState | Zeros | Seed | Smooth
Start = Drawn | StoredState | Upload
_RANGES = {"complex_noise": (-1.0, 1.0), "zeros": (0.0, 0.0), "seed": (0.0, 1.0)}  # of the parts of a start state


def check_start(constraint: Constraint, start: Start) -> None:
    """Check that a start state lies in the box of a law.

    Other constraints take every start state: the first step normalises each cell of "unit", and "none" has no bounds.
    Uploaded states and those of other jobs are taken as they are, never normalised; the first step brings them into the
    box. `random` fills the box by definition.

    Raises:
        ValueError: the start state has values beyond the box.
    """
    if isinstance(start, Smooth):
        least, most = min(start.re[0], start.im[0]), max(start.re[1], start.im[1])
    elif isinstance(start, ComplexNoise | Zeros | Seed):
        least, most = _RANGES[start.kind]
    else:
        return
    if isinstance(constraint, Box) and not constraint.box[0] <= least <= most <= constraint.box[1]:
        low, high = constraint.box
        raise ValueError(
            f"initial.kind = {start.kind!r} has values from {least:g} to {most:g}; the law keeps its channels in"
            f" [{low:g}, {high:g}]: start from random, from smooth within the box, or upload a state"
        )
