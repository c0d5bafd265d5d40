"""The JobSpec and SweepSpec as pydantic models: the public address of those in `leym.contract`."""

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
    "ComplexNoise",
    "Continue",
    "FromJob",
    "Initial",
    "JobSpec",
    "KeepStates",
    "Observe",
    "Precision",
    "RandomState",
    "Recording",
    "Seed",
    "SeedRange",
    "Smooth",
    "SweepSpec",
    "Upload",
    "Zeros",
]
