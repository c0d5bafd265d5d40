"""Models of sweeps."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from app.models.base import EXAMPLE_COUNTS, EXAMPLE_ID, EXAMPLE_OBSERVABLES, EXAMPLE_POINT, Body, PageQuery, State
from leym.contract.spec import LIMITS
from leym.contract.sweeps import EXAMPLE_SWEEP


class SweepBody(Body):
    """A sweep."""

    id: str
    size: int = Field(description="number of jobs")
    state: str = Field(description="`running` until all jobs have ended; then `failed`, `cancelled` or `succeeded`")
    counts: dict[str, int] = Field(description="number of jobs in each state", examples=[EXAMPLE_COUNTS])
    spec: dict[str, Any] = Field(examples=[EXAMPLE_SWEEP])
    created_at: str
    links: dict[str, str] = Field(
        examples=[{"self": f"/v1/sweeps/{EXAMPLE_ID}", "jobs": f"/v1/sweeps/{EXAMPLE_ID}/jobs"}]
    )


class SweepPage(Body):
    """One page of a list of sweeps."""

    items: list[SweepBody]
    next: str | None


class SweepRow(Body):
    """One job of a sweep, as a row of the sweep's table."""

    id: str
    state: State
    step: int
    steps: int
    point: dict[str, Any] = Field(examples=[EXAMPLE_POINT])
    observables: dict[str, float | None] = Field(examples=[EXAMPLE_OBSERVABLES])


class SweepTable(Body):
    """One page of a sweep's table."""

    items: list[SweepRow]
    next: str | None


class TableQuery(PageQuery):
    """Query of a sweep's table."""

    format: Literal["json", "csv"] = "json"
    limit: int = Field(LIMITS.table_rows, ge=1, le=LIMITS.table_rows)
