"""Models of workers, the queue and the probes."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from app.models.base import EXAMPLE_BUCKET, EXAMPLE_COUNTS, Body, Query


class WorkerBody(Body):
    """A worker that is alive."""

    name: str
    host: str
    pid: int
    device: str
    kind: str = Field(description="simulation or training: of the jobs that it takes")
    state: str = Field(
        description="starting, ready, paused (fetches no jobs until it is resumed), draining, or lost (fell silent)"
    )
    slots: int
    busy: int
    waiting: int = Field(description="number of fetched jobs that wait for a slot")
    buckets: list[dict[str, Any]] = Field(examples=[[EXAMPLE_BUCKET]])
    cell_steps: int
    cell_steps_per_s: float
    idle_s: float | None
    started_at: str
    updated_at: str
    info: dict[str, Any] = Field(examples=[{"busy_s": 12.5}])


class WorkerList(Body):
    """The workers that are alive."""

    items: list[WorkerBody]
    next: str | None = None


class StorageBody(Body):
    """Free space for results."""

    free_bytes: int | None = Field(description="free bytes in the folder of a store of files; null for other stores")
    free_min_bytes: int = Field(description="LEYM_DISK_FREE_MIN")
    admits: bool = Field(description="false while new jobs, sweeps and states are refused with 507 for lack of space")


class QueueBody(Body):
    """The backlog of jobs, and the free space for results."""

    storage: StorageBody
    states: dict[str, int] = Field(description="number of jobs in each state", examples=[EXAMPLE_COUNTS])
    jobs: int = Field(description="number of queued and running simulations")
    cell_steps: int = Field(description="cell-steps that these jobs still have to run")
    queued_cell_steps: int
    oldest_queued_s: float | None
    trainings: dict[str, int] = Field(
        description="trainings that are queued and running, and the live workers that take them; they are in `states`, "
        "and not in the other numbers",
        examples=[{"queued": 1, "running": 0, "workers": 0}],
    )
    buckets: list[dict[str, Any]] = Field(
        description="backlog per law, precision and grid", examples=[[EXAMPLE_BUCKET]]
    )


class HealthBody(Body):
    """Answer of the liveness probe."""

    status: str


class ReadyBody(Body):
    """Answer of the readiness probe."""

    ready: bool
    checks: dict[str, str] = Field(examples=[{"table": "ok", "store": "ok", "broker": "ok", "workers": "2"}])


class WorkersQuery(Query):
    """Query of the list of workers."""

    lost: bool = Field(False, description="with the workers that fell silent within a day and did not take leave")


class ProjectUsage(Body):
    """Counts what a project has stored and still runs."""

    project: str
    stored_bytes: int = Field(description="bytes of frames and checkpoints")
    live: int = Field(description="jobs that have not ended, members of sweeps included")


class UsageList(Body):
    """Projects, the largest one first."""

    items: list[ProjectUsage]
    next: str | None = None


class LogQuery(Query):
    """Query of the log."""

    limit: int = Field(100, ge=1, le=500, description="most events")


class LogEvent(Body):
    """An event of a job, or of a block of a sweep's members."""

    at: str
    event: str = Field(description="`submitted`, `claimed`, how a claim ended, or the final state")
    job: str
    sweep: str | None
    worker: str | None
    epoch: int | None
    attempt: int | None
    step: int | None
    why: str | None


class LogBody(Body):
    """Events, the newest one first."""

    items: list[LogEvent]
    next: str | None = None
