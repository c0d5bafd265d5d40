"""The JobSpec and SweepSpec as pydantic models: the public address of those in `leym.contract`."""

from leym.contract.interventions import Collapse, Disc, Noise, Paint, Rectangle, SetCells, Vortex, Wave
from leym.contract.spec import (
    LIMITS,
    ComplexNoise,
    FromJob,
    Initial,
    JobSpec,
    Observe,
    Precision,
    RandomState,
    Recording,
    Seed,
    Smooth,
    Upload,
    Zeros,
)
from leym.contract.sweeps import SeedRange, SweepSpec

__all__ = [
    "LIMITS",
    "Collapse",
    "ComplexNoise",
    "Disc",
    "FromJob",
    "Initial",
    "JobSpec",
    "Noise",
    "Observe",
    "Paint",
    "Precision",
    "RandomState",
    "Recording",
    "Rectangle",
    "Seed",
    "SeedRange",
    "SetCells",
    "Smooth",
    "SweepSpec",
    "Upload",
    "Vortex",
    "Wave",
    "Zeros",
]
