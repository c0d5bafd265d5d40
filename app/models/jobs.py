"""Models of requests and answers for the OpenAPI document; the JobSpec is in `leym.contract.spec`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, Json

from app.parameters import Parameters
from leym.contract.spec import EXAMPLE_JOB, EXAMPLE_SWEEP, JOB_ID, LAW_NAME, LIMITS, Whole
from leym.laws.bundle import NAME

Standing = Literal["exact", "passed", "failed", "unverified"]
Verdict = Literal["pass", "fail", "inconclusive"]
State = Literal["queued", "running", "paused", "succeeded", "failed", "cancelled"]
WAIT_S = 60  # of a long poll; proxies cut requests that are silent for longer
PAGE = 200  # jobs of one page
EVENT_ID = r"^[0-9]{0,20}$"  # a step; nothing, when none was seen yet

# Examples of mappings whose keys the document cannot name.
AN_ID = "01ja0000000000000000000000"
OBSERVED = {"coherence": 0.412, "activity": 0.018}
POINT = {"gamma": 0.01, "seed": 1}
COUNTS = {"queued": 0, "running": 1, "succeeded": 3}
BUCKET = {"law": "aurora@1f0c6c5d", "precision": "fp32", "grid": [64, 64]}


class Body(BaseModel):
    """An answer: exactly these keys, all of them always there."""

    model_config = ConfigDict(extra="forbid", json_schema_serialization_defaults_required=True)


class Query(Parameters):
    """Parameters: unknown ones are refused, so that a misspelt filter does not answer everything."""

    model_config = ConfigDict(extra="forbid")


class BrokenKey(Body):
    pointer: str = Field(description="JSON pointer into the body, or /name of a parameter", examples=["/steps"])
    detail: str = Field(description="names the key, the value and the bound")


class ProblemBody(BaseModel):
    """An RFC 9457 problem; some have more members."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    instance: str | None = None
    errors: list[BrokenKey] = Field(default_factory=list)


class Times(Body):
    """Where a job's time went, in seconds."""

    waited_s: float | None = Field(description="from submission to its start; null before that")
    ran_s: float | None = Field(description="from its start to its end; null before that")


class JobBody(Body):
    id: str = Field(examples=[AN_ID])
    state: State
    step: int = Field(description="steps done whose frames are stored and can be read")
    steps: int
    law: str = Field(description="name@digest: exactly the weights that run")
    precision: str = Field(description="what `auto` was resolved to")
    fidelity: Standing = Field(description="of that precision when the job was taken in: unverified without a verdict")
    d_state: int
    spec: dict[str, Any] = Field(
        description="the JobSpec (or FidelitySpec) as it was taken, with all defaults", examples=[EXAMPLE_JOB]
    )
    priority: int
    tags: dict[str, str] = Field(examples=[EXAMPLE_JOB["tags"]])
    sweep: str | None
    point: dict[str, Any] | None = Field(
        description="of a member of a sweep: its value on every axis", examples=[POINT]
    )
    epoch: int = Field(description="how often a worker took it up")
    attempts: int = Field(description="claims without progress since")
    error: dict[str, Any] | None = Field(description="why it failed, as a problem", examples=[None])
    verdict: Verdict | None = Field(description="what a fidelity job found; null of other jobs and before its end")
    observables: dict[str, float | None] | None = Field(description="the last numbers observed", examples=[OBSERVED])
    created_at: str = Field(description="RFC 3339, UTC, like the other three")
    started_at: str | None
    finished_at: str | None
    expires_at: str | None = Field(
        description="from then on its results are 410 Gone; null before the job's end, and of results kept for ever"
    )
    stored_bytes: int = Field(description="what its frames and its checkpoint take in the store; 0 once they are gone")
    queue: Times
    links: dict[str, str] = Field(
        description="self, events, frames, observables, store, cancel",
        examples=[{"self": f"/v1/jobs/{AN_ID}", "events": f"/v1/jobs/{AN_ID}/events"}],
    )


class JobPage(Body):
    items: list[JobBody]
    next: str | None = Field(description="cursor of the next page")


class FieldBody(BaseModel):
    """One recorded field."""

    name: str
    shape: list[int] = Field(description="[committed frames, H, W] or [committed frames, H, W, d]")
    dtype: str
    dims: list[str]
    units: str
    every: int
    committed: int = Field(description="frames that can be read")
    steps: dict[str, int] = Field(
        description="start, stop and stride of their steps; stop is exclusive",
        examples=[{"start": 0, "stop": 101, "stride": 10}],
    )


class FieldList(Body):
    items: list[FieldBody]


class StateBody(Body):
    id: str = Field(description="for `initial`: {kind: upload, id}")
    shape: list[int] = Field(description="[H, W, d]")


class SweepBody(Body):
    id: str
    size: int = Field(description="jobs")
    state: str = Field(description="running, or how it ended: failed, cancelled or succeeded")
    counts: dict[str, int] = Field(description="jobs per state", examples=[COUNTS])
    spec: dict[str, Any] = Field(examples=[EXAMPLE_SWEEP])
    created_at: str
    links: dict[str, str] = Field(examples=[{"self": f"/v1/sweeps/{AN_ID}", "jobs": f"/v1/sweeps/{AN_ID}/jobs"}])


class SweepPage(Body):
    items: list[SweepBody]
    next: str | None


class SweepRow(Body):
    id: str
    state: State
    step: int
    steps: int
    point: dict[str, Any] = Field(examples=[POINT])
    observables: dict[str, float | None] = Field(examples=[OBSERVED])


class SweepTable(Body):
    items: list[SweepRow]
    next: str | None


class LawBody(Body):
    name: str
    digest: str
    ref: str = Field(description="name@digest, to pin exactly these weights")
    architecture: str
    form: str
    d_state: int
    hidden_channels: int
    parameters: int
    grid_multiple: int = Field(description="both sides of a grid must be divisible by it")
    boundary: str
    options: dict[str, Any] = Field(description="of the network, defaults included", examples=[{"padding": "circular"}])
    memory: bool = Field(description="whether the network has a state of its own beside the cells")
    policy: dict[str, dict[str, str]] = Field(
        description="formats of this law's own, per precision", examples=[{"nf4": {"backbone": "int8"}}]
    )
    description: str
    provenance: dict[str, Any] = Field(examples=[{"script": "examples/make_aurora.py"}])
    versions: list[str] = Field(description="name@digest of every version that is kept, the newest first")


class LawList(Body):
    items: list[LawBody]
    next: str | None = None


class VerdictBody(Body):
    precision: str
    verdict: Verdict
    reasons: list[str] = Field(description="why it is no pass")
    metrics: dict[str, dict[str, Any]] = Field(
        description="effect, its interval and outcome, of each metric",
        examples=[{"activity": {"outcome": "pass", "effect": 0.004, "low": -0.01, "high": 0.02}}],
    )
    members: int = Field(description="universes per ensemble")
    created: str


class FidelityList(Body):
    items: list[VerdictBody]
    next: str | None = None


class WorkerBody(Body):
    name: str
    host: str
    pid: int
    device: str
    state: str = Field(description="starting, ready, paused (it fetches no jobs until told to) or draining")
    slots: int
    busy: int
    waiting: int = Field(description="jobs it holds that wait for a slot")
    buckets: list[dict[str, Any]] = Field(examples=[[BUCKET]])
    cell_steps: int
    cell_steps_per_s: float
    idle_s: float | None
    started_at: str
    updated_at: str
    info: dict[str, Any] = Field(examples=[{"busy_s": 12.5}])


class WorkerList(Body):
    items: list[WorkerBody]
    next: str | None = None


class StorageBody(Body):
    free_bytes: int | None = Field(description="where a store of files has its folder; null for other stores")
    free_min_bytes: int = Field(description="LEYM_DISK_FREE_MIN")
    admits: bool = Field(description="false: jobs, sweeps and states are answered 507 until there is room")


class QueueBody(Body):
    storage: StorageBody
    states: dict[str, int] = Field(description="jobs per state", examples=[COUNTS])
    jobs: int = Field(description="that wait or run")
    cell_steps: int = Field(description="left to do of them")
    queued_cell_steps: int
    oldest_queued_s: float | None
    buckets: list[dict[str, Any]] = Field(description="backlog per law, precision and grid", examples=[[BUCKET]])


class FrameEvent(Body):
    step: int
    fields: list[str]
    observables: dict[str, float | None] = Field(examples=[OBSERVED])


class StateEvent(Body):
    id: str
    state: State
    step: int
    steps: int
    error: dict[str, Any] | None = Field(examples=[None])


class EndEvent(Body):
    state: State
    step: int


class JobEvent(BaseModel):
    """One event of a job's stream."""

    event: Literal["frame", "state", "end"]
    id: str = Field("", pattern=r"^[0-9]*$", description="a frame's step; of the end: its step, unless a frame had it")
    data: Json[FrameEvent | StateEvent | EndEvent]


class HealthBody(Body):
    status: str


class ReadyBody(Body):
    ready: bool
    checks: dict[str, str] = Field(examples=[{"table": "ok", "store": "ok", "broker": "ok", "workers": "2"}])


class IdempotencyHeader(Parameters):
    """A repeated request with the same key finds the first job; the same key with another body is refused."""

    idempotency_key: str | None = Field(None, min_length=1, max_length=255, alias="Idempotency-Key")


class IdPath(Parameters):
    id: str = Field(max_length=64)


class FieldPath(Parameters):
    id: str = Field(max_length=64)
    field: str = Field(max_length=64)


class StorePath(Parameters):
    id: str = Field(max_length=64)
    key: str = Field(max_length=512, description="a key of the Zarr hierarchy, e.g. zarr.json or phase/c/0/0/0")


class LawPath(Parameters):
    name: str = Field(max_length=130, description="name or name@digest")


class TokenBody(BaseModel):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"token": "leym_…"}]})

    token: str = Field(max_length=200)


class SessionBody(Body):
    project: str
    scopes: list[str]


class LinkRequest(BaseModel):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"ttl_s": 86400}]})

    ttl_s: Whole = Field(86400, ge=1, le=30 * 86400, description="seconds until the link expires")


class LinkBody(Body):
    store: str = Field(description="path of the Zarr hierarchy, for xarray.open_zarr")
    frames: str = Field(description="path before /{field}?format=…")
    expires_at: str


class SharedStorePath(Parameters):
    link: str = Field(max_length=512)
    key: str = Field(max_length=512)


class SharedFieldPath(Parameters):
    link: str = Field(max_length=512)
    field: str = Field(max_length=64)


class NewLawPath(Parameters):
    name: str = Field(pattern=NAME)


class KeptLawPath(Parameters):
    name: str = Field(pattern=LAW_NAME, description="name or name@digest")


class FidelityPath(LawPath):
    precision: Literal["nf4", "int8", "bf16"]


class FormatQuery(Query):
    format: Literal["json", "html"] = "json"


class DigestQuery(Query):
    digest: str | None = Field(
        None, pattern=r"^[0-9a-f]{8,64}$", description="what the law's digest must be, or begin with"
    )


class ImportFields(Query):
    """What a checkpoint does not say of itself. All are checked against it."""

    architecture: str | None = Field(None, max_length=64)
    d_state: int | None = Field(None, ge=1, le=256)
    hidden_channels: int | None = Field(None, ge=1, le=4096)
    form: Literal["additive", "diagonal", "antisymmetric"] | None = None
    resize_antialias: bool | None = Field(None, description="how an SNN_UNET was shrunk; needed for one")


class WaitQuery(Query):
    wait: float = Field(0, ge=0, le=WAIT_S, description="seconds to wait until the state changes")
    state: State | None = Field(None, description="the state you know; by default the one at the request")


class PageQuery(Query):
    limit: int = Field(50, ge=1, le=PAGE)
    cursor: str | None = Field(None, pattern=JOB_ID, description="`next` of the page before")


class JobsQuery(PageQuery):
    state: State | None = None
    law: str | None = Field(None, max_length=130, description="name, or name@digest")
    tag: str | None = Field(None, max_length=330, pattern="[:=]", description="key:value or key=value")
    sweep: str | None = Field(None, max_length=64)


class Selection(Query):
    start: int | None = Field(None, ge=0, description="first step")
    stop: int | None = Field(None, ge=0, description="step to stop before")
    stride: int = Field(1, ge=1, le=LIMITS.steps, description="every n-th recorded frame")


class FramesQuery(Selection):
    format: Literal["npy", "npz", "png", "gif", "webp"] = "npz"
    last: int | None = Field(None, ge=1, le=LIMITS.frames, description="only the last n frames of the selection")
    channel: int | None = Field(None, ge=0, description="for pictures of a field with channels")
    fps: float = Field(12, ge=0.1, le=60, description="frames per second of gif (at most 50) and webp")
    scale: int | None = Field(None, ge=1, le=64, description="pixels per cell; by default one that is good to see")


class ObservablesQuery(Selection):
    format: Literal["json", "csv", "npz"] = "json"
    names: str | None = Field(None, max_length=1000, description="separated by commas; all by default")


class EventsQuery(Query):
    last_event_id: str | None = Field(None, pattern=EVENT_ID, description="like the header: resume after this step")


class EventsHeader(Parameters):
    last_event_id: str | None = Field(None, pattern=EVENT_ID, alias="Last-Event-ID")


class TableQuery(PageQuery):
    format: Literal["json", "csv"] = "json"
    limit: int = Field(LIMITS.sweep_jobs, ge=1, le=LIMITS.sweep_jobs)
