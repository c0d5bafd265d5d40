"""What the job table hands out: frozen records. All times are seconds since 1970 (UTC)."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from leym.contract.fidelity_spec import FidelitySpec
from leym.contract.problems import Problem
from leym.contract.spec import JobSpec


class JobState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        return self in FINAL


FINAL = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED})
LIVE = frozenset(JobState) - FINAL


class Fenced(Exception):
    """A write by someone who no longer holds the job: it was cancelled, ended, or claimed again since.

    The holder drops the job and writes nothing more of it.
    """

    def __init__(self, job_id: str, epoch: int, found: str):
        super().__init__(f"job {job_id} is not held at epoch {epoch}: {found}")
        self.job_id, self.epoch = job_id, epoch


@dataclass(frozen=True, slots=True)
class Job:
    """One row of the job table.

    `step` is the committed step: frames up to it can be read. `epoch` counts the claims (and rises on a cancel), so
    that a write by an earlier holder can be told and refused. `attempts` counts claims without progress.
    """

    id: str
    state: JobState
    step: int
    steps: int  # of a fidelity job: of all universes together
    spec: dict[str, Any]  # JobSpec, or FidelitySpec, as JSON
    law: str  # name@digest, 64 hex digits
    precision: str  # resolved: never "auto"
    fidelity: str  # of that precision when the job was taken in: `leym.laws.verdicts.fidelity_status`
    d_state: int
    epoch: int
    attempts: int
    priority: int
    owner: str | None  # the worker that holds it, or held it last when it ended
    lease_until: float | None
    error: dict[str, Any] | None  # a problem (RFC 9457)
    created_at: float
    started_at: float | None  # of the first claim
    finished_at: float | None
    sweep: str | None
    point: dict[str, Any] | None  # the values of the sweep's axes
    manifest: dict[str, Any]  # which frames can be read, and where they are; {} before the first commit
    checkpoint: dict[str, Any] | None
    observables_last: dict[str, Any] | None
    deleted_at: float | None
    project: str
    stored_bytes: int  # of the frames and the checkpoint that this row names; what waits to be removed is not in it

    @property
    def final(self) -> bool:
        return self.state in FINAL

    @property
    def expires_at(self) -> float | None:
        """When its results may be removed; None before its end, and for a job that is kept for ever."""
        ttl_s = self.spec.get("ttl_s")
        return None if ttl_s is None or self.finished_at is None else self.finished_at + ttl_s

    @property
    def deadline_at(self) -> float | None:
        """When it fails unless it has ended; None for a job without a deadline."""
        limit = self.spec.get("deadline_s")
        return None if limit is None else self.created_at + limit

    def deadline_passed(self) -> dict[str, Any]:
        """The problem of a job whose deadline passed before its end."""
        detail = f"deadline_s = {self.spec['deadline_s']:g} passed before the job ended"
        return Problem(422, "Deadline passed", detail, errors=[{"pointer": "/deadline_s", "detail": detail}]).as_dict()

    def expired(self, now: float) -> bool:
        return self.expires_at is not None and self.expires_at <= now

    def gone(self, now: float) -> str | None:
        """Why its results cannot be read any more, after "its results"; None as long as they can."""
        if self.deleted_at is not None:
            return "were deleted"
        if self.expires_at is None or not self.expired(now):
            return None
        at = datetime.fromtimestamp(self.expires_at, UTC).isoformat(timespec="seconds")
        return f"expired at {at}: ttl_s = {self.spec['ttl_s']:g} seconds after the job's end"

    @property
    def grid(self) -> tuple[int, int]:
        height, width = self.spec["grid"]
        return height, width

    @property
    def cells(self) -> int:
        height, width = self.grid
        return height * width

    @property
    def judges(self) -> bool:
        """Whether it is a fidelity job: the gate's ensembles, and no frames."""
        return self.spec.get("kind") == "fidelity"

    @property
    def tags(self) -> dict[str, str]:
        return self.spec.get("tags", {})


@dataclass(frozen=True, slots=True)
class Claim:
    """A job as its new holder got it: every write of the holder names `job.id` and `job.epoch`."""

    job: Job

    @property
    def epoch(self) -> int:
        return self.job.epoch


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job to be submitted: the spec, and what was resolved from it."""

    spec: JobSpec | FidelitySpec
    law: str  # name@digest, 64 hex digits
    precision: str
    d_state: int
    point: dict[str, Any] | None = None
    fidelity: str = "unverified"


@dataclass(frozen=True, slots=True)
class Sweep:
    """Jobs submitted together. `counts` has every state, members removed since included."""

    id: str
    spec: dict[str, Any]
    size: int
    created_at: float
    cancelled_at: float | None = None
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def final(self) -> bool:
        return all(n == 0 for state, n in self.counts.items() if JobState(state) in LIVE)


@dataclass(frozen=True, slots=True)
class Worker:
    """What a worker process last said of itself."""

    name: str
    host: str
    pid: int
    device: str
    state: str  # starting, ready, paused (it fetches no jobs: remote control stopped that) or draining
    slots: int = 0
    busy: int = 0
    waiting: int = 0
    buckets: list[dict[str, Any]] = field(default_factory=list)
    cell_steps: int = 0  # since the worker started
    cell_steps_per_s: float = 0.0
    idle_since: float | None = None
    started_at: float = 0.0
    updated_at: float = 0.0  # set by the heartbeat
    info: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Histogram:
    """Cumulative buckets (upper bound in seconds, how many were at most that), the last bound infinite."""

    buckets: tuple[tuple[float, int], ...]
    count: int
    sum: float
