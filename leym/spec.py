"""The JobSpec and SweepSpec as pydantic models: the public address of `leym.contract.spec`."""

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
    SeedRange,
    SweepSpec,
    Upload,
    Zeros,
)

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
    "SeedRange",
    "SweepSpec",
    "Upload",
    "Zeros",
]
