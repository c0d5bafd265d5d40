"""Says which start states fit the constraint of a law. Torch-free."""

from __future__ import annotations

from leym.contract.spec import ComplexNoise, FromJob, RandomState, Seed, Upload, Zeros
from leym.laws.bundle import Manifest
from leym.physics.constraint import Box

Start = ComplexNoise | RandomState | Zeros | Seed | FromJob | Upload
_RANGES = {"complex_noise": (-1.0, 1.0), "zeros": (0.0, 0.0), "seed": (0.0, 1.0)}  # of the parts of a start state


def check_start(manifest: Manifest, start: Start) -> None:
    """Check that a start state lies in the box of a law.

    Other constraints take every start state: the first step normalises each cell of "unit", and "none" has no bounds.
    Uploaded states and those of other jobs are taken as they are, never normalised; the first step brings them into the
    box. `random` fills the box by definition.

    Raises:
        ValueError: the start state has values beyond the box.
    """
    if not isinstance(manifest.constraint, Box) or start.kind not in _RANGES:
        return
    (low, high), (least, most) = manifest.constraint.box, _RANGES[start.kind]
    if not low <= least <= most <= high:
        raise ValueError(
            f"initial.kind = {start.kind!r} has values from {least:g} to {most:g}; law {manifest.name!r} keeps its"
            f" channels in [{low:g}, {high:g}]: start from random, or upload a state"
        )


def default_start(manifest: Manifest) -> ComplexNoise | RandomState | Seed:
    """Return the start state that shows what a law does: noise, noise that fills its box, or a seed that grows."""
    if manifest.living is not None and not isinstance(manifest.constraint, Box):
        return Seed()
    return RandomState() if isinstance(manifest.constraint, Box) else ComplexNoise()
