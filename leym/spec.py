"""The JobSpec and SweepSpec as pydantic models: the public address of `leym.contract.spec`."""

from leym.contract.spec import *  # noqa: F403
