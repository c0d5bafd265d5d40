"""Immutable records of the job table: jobs, claims, sweeps and workers. Times are seconds since 1970 (UTC)."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leym.contract.fidelity_spec import FidelitySpec
from leym.contract.problems import Problem
from leym.contract.spec import JobSpec
from leym.contract.training_spec import TrainingSpec


class JobState(StrEnum):
    """State of a job. `paused`: the job belongs to a sweep that is paused, and goes on from its last checkpoint."""

    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """True if the state can never change again."""
        return self in FINAL


SIMULATION, TRAINING = "simulation", "training"  # kinds of workers
FINAL = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED})
LIVE = frozenset(JobState) - FINAL


class Fenced(Exception):  # noqa: N818 - fencing tokens are the standard term
    """Raised when a worker writes to a job that it no longer holds.

    The job was cancelled, has ended, or was claimed again. The worker drops it and writes nothing more.
    """

    def __init__(self, job_id: str, epoch: int, found: str):
        super().__init__(f"job {job_id} is not held at epoch {epoch}: {found}")
        self.job_id, self.epoch = job_id, epoch


@dataclass(frozen=True, slots=True)
class Job:
    """One row of the job table.

    `step` is the committed step: readers see the frames up to it. `epoch` counts the claims, and also rises when a job
    is cancelled, so that a write by an earlier holder is recognised and refused. `attempts` counts claims without
    progress.
    """

    id: str
    state: JobState
    step: int
    steps: int  # of a fidelity job, the steps of all universes together; of a training, its updates
    spec: dict[str, Any]  # JobSpec, FidelitySpec or TrainingSpec, as JSON
    law: str  # name@digest, 64 hex digits; of a training, the name alone until it has succeeded
    precision: str  # resolved: never "auto"
    fidelity: str  # status of the precision at submission, as `leym.laws.verdicts.fidelity_status` returns it
    d_state: int
    epoch: int
    attempts: int
    priority: int
    owner: str | None  # worker that holds the job, or held it last
    lease_until: float | None
    error: dict[str, Any] | None  # a problem (RFC 9457)
    created_at: float
    started_at: float | None  # time of the first claim
    finished_at: float | None
    sweep: str | None
    point: dict[str, Any] | None  # value of each axis of the sweep
    manifest: dict[str, Any]  # objects of the committed frames (`leym.frames.manifest`); {} before the first commit
    checkpoint: dict[str, Any] | None
    observables_last: dict[str, Any] | None
    deleted_at: float | None
    project: str
    stored_bytes: int  # size of the frames and checkpoints that this row names, without objects that await removal
    members: int = 1  # universes of this row; `step` and `steps` add them up
    indices: str | None = None  # of a block: the members of its sweep, in the order of their places (`pack_ranges`)
    member_states: str | None = None  # of a block: `MemberStates`
    device_s: float = 0.0  # seconds of a device that it has used: the share of its universes in what stepped
    block: str | None = None  # of a member: the row of its block, which names its results
    place: int = 0  # of a member: its place in the block
    differs: dict[str, Any] | None = None  # of a job that continues another one: {key: [value there, own value]}
    # What users write on a job afterwards. None of it is part of the spec, so that it changes no digest and no `reuse`.
    name: str | None = None
    note: str | None = None
    starred: bool = False
    tags_now: dict[str, str] | None = None  # in place of the tags of the spec; None until they are changed

    @property
    def is_block(self) -> bool:
        """True for the row of a block, which is leased, stored and committed as one, and is not a job for users."""
        return self.indices is not None and self.block is None

    @property
    def parent(self) -> str | None:
        """Id of the job that this one continues; None if it starts a lineage of its own."""
        initial = self.spec.get("initial") or {}
        return str(initial["job"]) if initial.get("kind") == "continue" else None

    @property
    def begins_at(self) -> int:
        """Step from which the job computes: 0, or that of the state from which it continues another one."""
        initial = self.spec.get("initial") or {}
        return int(initial["step"]) if initial.get("kind") == "continue" else 0

    @property
    def results(self) -> str:
        """Id of the row that names the results; it is part of the keys of their objects."""
        return self.block or self.id

    @property
    def final(self) -> bool:
        """True if the job has ended."""
        return self.state in FINAL

    @property
    def expires_at(self) -> float | None:
        """Time after which the results may be removed; None before the job ends, and if they are kept for ever."""
        ttl_s = self.spec.get("ttl_s")
        return None if ttl_s is None or self.finished_at is None else self.finished_at + ttl_s

    @property
    def deadline_at(self) -> float | None:
        """Time at which the job fails unless it has ended; None without a deadline."""
        limit = self.spec.get("deadline_s")
        return None if limit is None else self.created_at + limit

    def deadline_passed(self) -> dict[str, Any]:
        """Return the problem (RFC 9457) of a job whose deadline passed before its end."""
        detail = f"deadline_s = {self.spec['deadline_s']:g} passed before the job ended"
        return Problem(422, "Deadline passed", detail, errors=[{"pointer": "/deadline_s", "detail": detail}]).as_dict()

    def expired(self, now: float) -> bool:
        """Return True if the results may be removed."""
        return self.expires_at is not None and self.expires_at <= now

    def gone(self, now: float) -> str | None:
        """Return why the results can no longer be read, as the end of a sentence about them; None while they can."""
        if self.deleted_at is not None:
            return "were deleted"
        if self.expires_at is None or not self.expired(now):
            return None
        at = datetime.fromtimestamp(self.expires_at, UTC).isoformat(timespec="seconds")
        return f"expired at {at}: ttl_s = {self.spec['ttl_s']:g} seconds after the job's end"

    @property
    def grid(self) -> tuple[int, int]:
        """Grid as (H, W) in cells."""
        height, width = self.spec["grid"]
        return height, width

    @property
    def cells(self) -> int:
        """Number of cells of the grid."""
        height, width = self.grid
        return height * width

    @property
    def is_fidelity(self) -> bool:
        """True for a fidelity job, which runs ensembles for the gate and records no frames."""
        return self.spec.get("kind") == "fidelity"

    @property
    def is_training(self) -> bool:
        """True for a training, which makes a law, records no frames and is served by workers of its own."""
        return self.spec.get("kind") == "training"

    @property
    def tags(self) -> dict[str, str]:
        """Tags of the job, by key."""
        tags: dict[str, str] = self.spec.get("tags", {}) if self.tags_now is None else self.tags_now
        return tags


@dataclass(frozen=True, slots=True)
class Claim:
    """A claimed job. Every write of its holder names `job.id` and `job.epoch`."""

    job: Job

    @property
    def epoch(self) -> int:
        """Epoch of the claim."""
        return self.job.epoch


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job to submit: its spec, and the law and precision that the spec resolved to."""

    spec: JobSpec | FidelitySpec | TrainingSpec
    law: str  # name@digest, 64 hex digits; of a training, the name alone
    precision: str
    d_state: int
    point: dict[str, Any] | None = None
    fidelity: str = "unverified"
    differs: dict[str, Any] | None = None  # of a job that continues another one


@dataclass(frozen=True, slots=True)
class NewBlock:
    """Members of a sweep to submit as one block.

    Attributes:
        shape: number of their shape in the sweep.
        job: a job of this shape. Seed, gamma and start state of each member come from the sweep.
        indices: int64 [n], increasing.
    """

    shape: int
    job: NewJob
    indices: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Addition:
    """Members that were added to a sweep in one request.

    Attributes:
        first: index of the first of them; the others follow.
        size: their number.
        shapes: number of their shapes, which follow those before them.
        axes: values by key, as requested.
        mode: mode, as requested.
        key: SHA-256 of the Idempotency-Key of the request; None without one.
    """

    first: int
    size: int
    shapes: int
    axes: dict[str, Any]
    mode: Any
    key: str | None = None


MISSED = -1  # in place of a step: the job had no step left


@dataclass(frozen=True, slots=True)
class LiveIntervention:
    """An intervention that a user asked for while the job waited or ran.

    Attributes:
        job: the job.
        number: position among the requests for this job.
        change: the intervention as JSON, with the requested step or null.
        created_at: time of the request.
        step: step at which it acts; None while the worker has not heard of it, `MISSED` if no step was left.
    """

    job: str
    number: int
    change: dict[str, Any]
    created_at: float
    step: int | None


@dataclass(frozen=True, slots=True)
class Sweep:
    """Jobs submitted together, the members of the sweep. `counts` has every state, and includes deleted jobs.

    Attributes:
        blocks: rows that the members were packed into when they were submitted or added; 0 in sweeps of version 0.1.0,
            whose members are rows.
        cell_steps: work of all members.
        cell_steps_done: the part of it that is committed.
        added: members that were added after the submission.
        name: what users write on a sweep afterwards, as are `note`, `starred` and `tags_now` (None: those of `base`).
    """

    id: str
    spec: dict[str, Any]
    size: int
    created_at: float
    cancelled_at: float | None = None
    counts: dict[str, int] = field(default_factory=dict)
    blocks: int = 0
    paused_at: float | None = None
    cell_steps: int = 0
    cell_steps_done: int = 0
    added: tuple[Addition, ...] = ()
    name: str | None = None
    note: str | None = None
    starred: bool = False
    tags_now: dict[str, str] | None = None

    @property
    def tags(self) -> dict[str, str]:
        """Tags of the sweep, by key."""
        tags: dict[str, str] = self.spec.get("base", {}).get("tags") or {} if self.tags_now is None else self.tags_now
        return tags

    @property
    def final(self) -> bool:
        """True if every job of the sweep has ended."""
        return all(n == 0 for state, n in self.counts.items() if JobState(state) in LIVE)


@dataclass(frozen=True, slots=True)
class Worker:
    """The last heartbeat of a worker process."""

    name: str
    host: str
    pid: int
    device: str
    state: str  # starting, ready, paused (remote control told it to fetch no jobs) or draining
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
    kind: str = SIMULATION  # of the jobs that it takes
