"""The JobSpec and SweepSpec as pydantic models: the public address of those in `leym.contract`."""

from leym.contract.interventions import Collapse, Disc, Noise, Paint, Rectangle, SetCells, Vortex, Wave
from leym.contract.spec import (
    LIMITS,
    ComplexNoise,
    Continue,
    FromJob,
    Initial,
    JobSpec,
    KeepStates,
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
    "Continue",
    "Disc",
    "FromJob",
    "Initial",
    "JobSpec",
    "KeepStates",
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
