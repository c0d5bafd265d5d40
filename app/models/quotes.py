"""Models of quotes."""

from __future__ import annotations

from pydantic import ConfigDict, Field, model_validator

from app.models.base import Body
from leym.contract.model import Model
from leym.contract.spec import EXAMPLE_JOB, JobSpec
from leym.contract.sweeps import SweepSpec


class QuoteRequest(Model):
    """A job or a sweep, which is checked and not submitted."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"job": EXAMPLE_JOB}]})

    job: JobSpec | None = None
    sweep: SweepSpec | None = None

    @model_validator(mode="after")
    def _one(self) -> QuoteRequest:
        if (self.job is None) == (self.sweep is None):
            raise ValueError("a quote is for one job or one sweep: give `job` or `sweep`")
        return self

    def one_sweep(self) -> SweepSpec:
        """Return the sweep of a request without a job."""
        if self.sweep is None:
            raise TypeError("the request is for a job")
        return self.sweep


class Interval(Body):
    """A median, and the value that nine of ten keep: they are at least as fast, as early, as cheap."""

    p50: float
    p90: float


class Moments(Body):
    """RFC 3339, UTC."""

    p50: str
    p90: str


class QuoteBody(Body):
    """When a job or a sweep would end and what it would take, if it were submitted now. Null is not known."""

    members: int
    cell_steps: int = Field(description="cells times steps of all members")
    bytes: int = Field(description="size of all recorded fields before compression")
    steps_per_s: Interval | None = Field(description="steps of all members per second, while it runs")
    wait_s: Interval | None = Field(description="seconds until it starts")
    run_s: Interval | None = Field(description="seconds from its start to its end")
    start_at: Moments | None
    finish_at: Moments | None
    device_seconds: Interval | None = Field(description="share of the devices that it would use")
    cost: Interval | None = Field(description="device hours times LEYM_PRICE_PER_DEVICE_HOUR; null without that")
    basis: str | None = Field(
        description="jobs that it was compared with: of its `bucket` (law, precision, grid), of its `law`, or of all "
        "laws (`service`), whichever is the most similar that there is"
    )
    reason: str | None = Field(description="why something is not known")
