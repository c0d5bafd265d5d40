"""The JobSpec and SweepSpec as pydantic models: the public address of those in `leym.contract`."""

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
    Upload,
    Zeros,
)
from leym.contract.sweeps import SeedRange, SweepSpec

__all__ = [
    "LIMITS",
    "ComplexNoise",
    "FromJob",
    "Initial",
    "JobSpec",
    "Observe",
    "Precision",
    "RandomState",
    "Recording",
    "Seed",
    "SeedRange",
    "SweepSpec",
    "Upload",
    "Zeros",
]
