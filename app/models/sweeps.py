"""Models of sweeps."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from app.models.base import (
    EXAMPLE_COUNTS,
    EXAMPLE_ID,
    EXAMPLE_OBSERVABLES,
    EXAMPLE_POINT,
    EXAMPLE_TAGS,
    Body,
    PageQuery,
    Query,
    State,
)
from leym.contract.spec import LIMITS
from leym.contract.sweeps import EXAMPLE_MORE, EXAMPLE_SWEEP

WINDOW = r"^[0-9]{1,12},[0-9]{1,12}$"
EXAMPLE_DISTRIBUTIONS = {
    "activity": {
        "members": 4,
        "mean": 0.02,
        "sd": 0.01,
        "minimum": 0.0,
        "maximum": 0.04,
        "edges": [0.0, 0.02, 0.04],
        "counts": [3, 1],
    }
}


class Progress(Body):
    """Work of a sweep in cell-steps: one cell, one step."""

    cell_steps: int = Field(description="work of all jobs")
    done: int = Field(
        description="the part of it whose results can be read; it stays below `cell_steps` where members end early"
    )


class MemberRange(Body):
    """Members with consecutive indices."""

    first: int = Field(description="index of the first of them")
    size: int = Field(description="their number")


class AdditionBody(MemberRange):
    """Members that were added to a sweep."""

    axes: dict[str, Any] = Field(examples=[EXAMPLE_MORE])
    mode: Any = Field(description="as in the request that added them", examples=["product"])


class SweepBody(Body):
    """A sweep."""

    id: str
    size: int = Field(description="number of jobs")
    state: str = Field(
        description="`running` or `paused` until all jobs have ended; then `failed`, `cancelled` or `succeeded`"
    )
    counts: dict[str, int] = Field(description="number of jobs in each state", examples=[EXAMPLE_COUNTS])
    blocks: int = Field(
        description="groups of jobs that a worker takes together, as submitted; 0 for a sweep of version 0.1.0"
    )
    progress: Progress
    name: str | None = Field(description="what users call it, as are note, starred and tags; PATCH changes them")
    note: str | None
    starred: bool
    tags: dict[str, str] = Field(examples=[EXAMPLE_TAGS])
    spec: dict[str, Any] = Field(description="the sweep as it was submitted", examples=[EXAMPLE_SWEEP])
    added: list[AdditionBody] = Field(description="members that were added since, in the order of their indices")
    created_at: str
    paused_at: str | None
    links: dict[str, str] = Field(
        examples=[{"self": f"/v1/sweeps/{EXAMPLE_ID}", "jobs": f"/v1/sweeps/{EXAMPLE_ID}/jobs"}]
    )


class GrownSweepBody(SweepBody):
    """A sweep to which members were added."""

    members: MemberRange = Field(description="the members that this request added")


class Distribution(Body):
    """Values of one observable at the last observed step of each member that has a finite one."""

    members: int = Field(description="number of values")
    mean: float
    sd: float = Field(description="population standard deviation")
    minimum: float
    maximum: float
    edges: list[float] = Field(description="bounds of the bins, equally spaced; one more than `counts`")
    counts: list[int] = Field(description="number of values in each bin")


class SweepSummary(Body):
    """A sweep at a glance."""

    id: str
    size: int
    state: str
    counts: dict[str, int] = Field(description="number of jobs in each state", examples=[EXAMPLE_COUNTS])
    progress: Progress
    observables: dict[str, Distribution] = Field(
        description="by the name of the observable", examples=[EXAMPLE_DISTRIBUTIONS]
    )


class SummaryQuery(Query):
    """Query of a summary."""

    bins: int = Field(20, ge=1, le=1000, description="bins of the histograms")


class Estimate(Body):
    """Size of a sweep that was checked, and not submitted."""

    size: int = Field(description="number of jobs")
    shapes: int = Field(description="groups of jobs that differ in seed, gamma and start state only")
    blocks: int = Field(description="groups of jobs that a worker would take together")
    cell_steps: int = Field(description="work of all jobs: cells times steps")
    bytes: int = Field(description="size of all recorded fields before compression")
    seconds: float | None = Field(
        description="`cell_steps` divided by the speed of all workers, each since its start; leaves out compilation and"
        " other jobs; null if none has computed anything"
    )


class DryRunQuery(Query):
    """Query of a submission."""

    dry_run: bool = Field(False, description="check the sweep and answer with its size, without submitting it")


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
    limit: int = Field(LIMITS.table_rows, ge=1, le=LIMITS.table_rows, description="rows of a page, for `json`")
    filter: list[str] = Field(
        [], max_length=32, description="conditions such as `gamma>=0.01` and `state=succeeded`; all must hold"
    )
    sort: str | None = Field(None, description="a column; missing values come last")
    descending: bool = False
    aggregate: str | None = Field(
        None,
        description="statistics per point, separated by commas: mean, sd, min, max, median, count, quantiles as q05;"
        " not for `json`",
    )
    over: str | None = Field(None, description="axes to aggregate over, separated by commas; default: `seed`")
    value: str | None = Field(None, description="observables to aggregate, separated by commas; default: all")
    window: str | None = Field(
        None,
        pattern=WINDOW,
        description="two steps, such as `1500,2000`: observables are means over the observed steps between them, both"
        " included, instead of the last values",
    )
    provenance: bool = Field(False, description="of a csv: begin with the provenance, in one line `# provenance: {…}`")

    @model_validator(mode="after")
    def _flat(self) -> TableQuery:
        if self.aggregate and self.format == "json":
            raise ValueError("format = 'json': aggregate needs a format with flat columns: jsonl, csv, parquet, arrow")
        return self

    @property
    def steps(self) -> tuple[int, int] | None:
        """First and last step of the window; None without one."""
        if self.window is None:
            return None
        first, last = map(int, self.window.split(","))
        return first, last

    @model_validator(mode="after")
    def _window_has_steps(self) -> TableQuery:
        if self.steps is not None and self.steps[0] > self.steps[1]:
            raise ValueError(f"window = {self.window}: the first step must not be after the second")
        return self


class AtlasQuery(Query):
    """Query of an atlas."""

    field: str = Field(max_length=64, description="a recorded field")
    step: int | None = Field(
        None, ge=0, le=LIMITS.steps, description="the frame at this step or before it; by default each member's newest"
    )
    members: str | None = Field(
        None,
        max_length=20_000,
        pattern=r"^[0-9]{1,7}(-[0-9]{1,7})?(,[0-9]{1,7}(-[0-9]{1,7})?)*$",
        description="indices, such as `0-63,70`; by default the first 4096",
    )
    side: int = Field(
        64, ge=1, le=1024, description="most cells of a tile's side: of larger grids, every n-th is shown"
    )
    format: Literal["png", "npy"] = Field(
        "png", description="`npy` has float16 values [members, h, w] (or [members, h, w, d]; complex64 of psi)"
    )
    channel: int | None = Field(None, ge=0, description="channel to show, in pictures of a field with channels")
    scale: int | None = Field(None, ge=1, le=64, description="pixels per cell of a picture; by default chosen to suit")
