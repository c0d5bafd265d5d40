"""Models of sweeps."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from app.models.base import EXAMPLE_COUNTS, EXAMPLE_ID, EXAMPLE_OBSERVABLES, EXAMPLE_POINT, Body, PageQuery, State
from leym.contract.spec import EXAMPLE_SWEEP, LIMITS


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

    format: Literal["json", "csv", "jsonl", "parquet", "arrow"] = Field(
        "json", description="`arrow` is the stream form of Arrow IPC; all but `json` have all rows and flat columns"
    )
    limit: int = Field(LIMITS.sweep_jobs, ge=1, le=LIMITS.sweep_jobs, description="rows of a page, for `json`")
    filter: list[str] = Field(
        [], max_length=32, description="conditions such as `gamma>=0.01` and `state=succeeded`; all must hold"
    )
    sort: str | None = Field(None, description="a column; missing values come last. `json` sorts each page")
    descending: bool = False
    aggregate: str | None = Field(
        None,
        description="statistics per point, separated by commas: mean, sd, min, max, median, count, quantiles as q05;"
        " not for `json`",
    )
    over: str | None = Field(None, description="axes to aggregate over, separated by commas; default: `seed`")
    value: str | None = Field(None, description="observables to aggregate, separated by commas; default: all")

    @model_validator(mode="after")
    def _flat(self) -> TableQuery:
        if self.aggregate and self.format == "json":
            raise ValueError("format = 'json': aggregate needs a format with flat columns: jsonl, csv, parquet, arrow")
        return self
