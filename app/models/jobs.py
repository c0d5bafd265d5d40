"""Models of jobs and of their events."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field, Json

from app.models.base import (
    EXAMPLE_ID,
    EXAMPLE_OBSERVABLES,
    EXAMPLE_POINT,
    EXAMPLE_TAGS,
    Body,
    Parameters,
    Query,
    State,
    Verdict,
)
from app.models.labels import LabelsQuery
from leym.contract.spec import EXAMPLE_JOB

Standing = Literal["exact", "passed", "failed", "unverified"]
MAX_WAIT_S = 60  # limit of a long poll: proxies cut requests that are silent for longer
EVENT_ID = r"^[0-9]{0,20}$"  # a step; empty before the first event
JOB_IDS = r"^[0-9a-z]{26}(,[0-9a-z]{26}){0,99}$"
# job:step of each followed job; empty before the first event, and when no job is left
POSITIONS = r"^([0-9a-z]{26}:([0-9]{1,18}|-1|end)(,[0-9a-z]{26}:([0-9]{1,18}|-1|end)){0,199})?$"


class Times(Body):
    """Durations of a job in seconds: how long it waited and how long it ran."""

    waited_s: float | None = Field(description="seconds from submission to start; null before the start")
    ran_s: float | None = Field(description="seconds from start to end; null before the end")
    waits_for: str | None = Field(description="of a queued training: why it waits; null in lists")


class Reason(Body):
    """Why a job does not advance."""

    code: str = Field(
        description="`queue`, `no_worker`, `no_ready_worker`, `quota`, `paused`, `compiling`, `slot`, `worker_silent`; "
        "of a training, also `busy`",
        examples=["queue"],
    )
    text: str = Field(examples=["waiting for a slot, 12 ahead"])


class HistoryEvent(Body):
    """One event of a job's history. Keys that say nothing about the event are null."""

    at: str
    event: str = Field(
        description="`submitted`, `claimed`, `queued` (returned to the queue), `paused`, `resumed`, `fell_back` (to an "
        "earlier checkpoint), or the final state"
    )
    worker: str | None
    epoch: int | None
    attempt: int | None
    step: int | None = Field(description="of a claim: the committed step from which it went on")
    why: str | None


class HistoryBody(Body):
    """Lists what happened to a job, oldest first. Of many claims, the newest are kept."""

    items: list[HistoryEvent]
    next: str | None


class JobBody(Body):
    """A job."""

    id: str = Field(examples=[EXAMPLE_ID])
    state: State
    step: int = Field(description="last completed step whose frames are stored and readable")
    steps: int = Field(description="of a training, updates")
    law: str = Field(
        description="name@digest, which identifies the exact weights; of a training, the name until it has succeeded"
    )
    precision: str = Field(description="the precision in use; never `auto`")
    fidelity: Standing = Field(
        description="standing of this precision when the job was submitted; `unverified` without a verdict"
    )
    d_state: int
    spec: dict[str, Any] = Field(
        description="the accepted JobSpec (or FidelitySpec or TrainingSpec), with all defaults filled in",
        examples=[EXAMPLE_JOB],
    )
    priority: int
    name: str | None = Field(description="what users call it, as are note, starred and tags; PATCH changes them")
    note: str | None
    starred: bool
    tags: dict[str, str] = Field(examples=[EXAMPLE_TAGS])
    sweep: str | None
    point: dict[str, Any] | None = Field(
        description="value on every axis, for a member of a sweep", examples=[EXAMPLE_POINT]
    )
    parent: str | None = Field(description="the job that it continues; null if it starts a lineage of its own")
    from_step: int = Field(description="step from which it computes: 0, or that of the state that it continues")
    differs: dict[str, Any] | None = Field(
        description="keys of the spec that differ from the parent: [value there, own value]; null without a parent",
        examples=[{"gamma": [0.01, 0.05], "steps": [600, 1000]}],
    )
    reuse: Literal["returned", "joined", "continued"] | None = Field(
        description="of an answer to a submission with `reuse`: an earlier job with the same results (`returned`), one "
        "that is computing them (`joined`), or a new job that goes on from an earlier one (`continued`)",
    )
    epoch: int = Field(description="how often workers have claimed the job, or the block of a member of a sweep")
    attempts: int = Field(description="claims since the job last made progress")
    worker: str | None = Field(description="worker that holds the job, or held it last; null before, and in the queue")
    reason: Reason | None = Field(
        description="why the job does not advance; null while it does, after its end, and in lists"
    )
    device_seconds: float = Field(
        description="seconds of a device that the job has used: its share of the universes in every burst"
    )
    error: dict[str, Any] | None = Field(description="why the job failed, as a problem", examples=[None])
    verdict: Verdict | None = Field(
        description="the verdict of a fidelity job; null for other jobs and before the job's end"
    )
    observables: dict[str, float | None] | None = Field(
        description="values at the last observed step; null for members of sweeps in lists, but not in the table. "
        "Of a training: the losses of the last committed update",
        examples=[EXAMPLE_OBSERVABLES],
    )
    created_at: str = Field(description="RFC 3339, UTC, as are the other three times")
    started_at: str | None
    finished_at: str | None
    expires_at: str | None = Field(
        description="when the results expire (410 Gone); null before the job's end, and if they are kept forever"
    )
    stored_bytes: int = Field(description="size of the frames and the checkpoint in the store; 0 once they are removed")
    queue: Times
    links: dict[str, str] = Field(
        description="self, events, cancel; of a simulation, frames, observables, store, states and lineage; of a "
        "training, curve and law",
        examples=[{"self": f"/v1/jobs/{EXAMPLE_ID}", "events": f"/v1/jobs/{EXAMPLE_ID}/events"}],
    )


class JobPage(Body):
    """One page of a list of jobs."""

    items: list[JobBody]
    next: str | None = Field(description="cursor of the next page; null on the last page")


class JobsQuery(LabelsQuery):
    """Filters of the list of jobs."""

    state: State | None = None
    law: str | None = Field(None, max_length=130, description="name, or name@digest")
    tag: str | None = Field(None, max_length=330, pattern="[:=]", description="key:value or key=value")
    sweep: str | None = Field(None, max_length=64)


class WaitQuery(Query):
    """Query of a long poll."""

    wait: float = Field(0, ge=0, le=MAX_WAIT_S, description="seconds to wait for a change of the state")
    state: State | None = Field(
        None, description="the last state that the client knows; by default the state at the time of the request"
    )


class EventsQuery(Query):
    """Query of an event stream, for clients that cannot set a header."""

    last_event_id: str | None = Field(
        None, pattern=EVENT_ID, description="resume after this step, as with the header `Last-Event-ID`"
    )


class ManyEventsQuery(Query):
    """Query that selects the jobs of an event stream."""

    jobs: str | None = Field(
        None, pattern=JOB_IDS, description="ids separated by commas, 100 at most; the stream ends when these jobs have"
    )
    sweep: str | None = Field(None, max_length=64, description="only members of this sweep")
    state: State | None = Field(None, description="only jobs in this state; one that leaves it is followed to its end")
    replay: bool = Field(
        False, description="with `jobs`: begin with all recorded steps; by default with those after the first `state`"
    )
    last_event_id: str | None = Field(
        None, pattern=POSITIONS, description="resume after this event, as with the header `Last-Event-ID`"
    )


class ManyEventsHeader(Parameters):
    """Header that an EventSource sends when it reconnects."""

    last_event_id: str | None = Field(None, pattern=POSITIONS, alias="Last-Event-ID")


class EventsHeader(Parameters):
    """Header that an EventSource sends when it reconnects."""

    last_event_id: str | None = Field(None, pattern=EVENT_ID, alias="Last-Event-ID")


class FrameEvent(Body):
    """Data of a `frame` event: one recorded step."""

    step: int
    fields: list[str]
    observables: dict[str, float | None] = Field(examples=[EXAMPLE_OBSERVABLES])


class StateEvent(Body):
    """Data of a `state` event: the job's new state."""

    id: str
    state: State
    step: int
    steps: int
    error: dict[str, Any] | None = Field(examples=[None])


class ProgressEvent(Body):
    """Data of a `progress` event: the newest losses of a training."""

    step: int = Field(description="updates that are done")
    steps: int
    observables: dict[str, float | None] = Field(examples=[{"loss": 0.031}])


class EndEvent(Body):
    """Data of the `end` event, the last of a stream."""

    state: State
    step: int


class JobEvent(BaseModel):
    """One event of a job's stream."""

    event: Literal["frame", "state", "progress", "end"]
    id: str = Field(
        "",
        pattern=r"^[0-9]*$",
        description="step of a frame or of progress; of `end`: the last step, unless a frame had it",
    )
    data: Json[FrameEvent | StateEvent | ProgressEvent | EndEvent]


class OfJob(Body):
    """Data of an event in a stream of many jobs: which job it is about."""

    job: str = Field(examples=[EXAMPLE_ID])


class JobStateEvent(OfJob):
    """Data of a `state` event of many jobs."""

    state: State
    step: int
    steps: int
    error: dict[str, Any] | None = Field(examples=[None])


class JobFrameEvent(OfJob, FrameEvent):
    """Data of a `frame` event of many jobs."""


class JobProgressEvent(OfJob, ProgressEvent):
    """Data of a `progress` event of many jobs."""


class JobEndEvent(OfJob, EndEvent):
    """Data of an `end` event of many jobs."""


class ManyJobsEvent(BaseModel):
    """One event of a stream of many jobs."""

    event: Literal["frame", "state", "progress", "end"]
    id: str = Field("", pattern=POSITIONS, description="the reader's position in every job that is followed")
    data: Json[JobFrameEvent | JobStateEvent | JobProgressEvent | JobEndEvent]
