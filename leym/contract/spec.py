"""What a job is: the one contract of client, API and worker.

Every model refuses unknown keys, and every bound lives in `LIMITS`, so that a refusal can name the key,
the value and the bound.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import product
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from leym.contract.catalog import FIELDS, OBSERVABLES, RENAMED_OBSERVABLES

LAW_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}(@[0-9a-f]{8,64})?$"
JOB_ID = r"^[0-9a-hjkmnp-tv-z]{26}$"  # Crockford's base 32


class LIMITS:
    """Bounds of one job. They protect the workers' memory and the store; none is a property of the physics."""

    side = (4, 1024)  # cells along one edge of the grid
    steps = 10_000_000
    seed = 2**63 - 1
    gamma = 10.0
    strength = 10.0
    recordings = len(FIELDS)
    frames = 1_000_000  # recorded frames of one field
    stored_bytes = 64 * 2**30  # uncompressed bytes of all recordings of one job
    tags = 32
    sweep_jobs = 10_000
    sweep_bytes = 1024 * 2**30  # of all jobs of a sweep together
    upload_bytes = 256 * 2**20
    law_bytes = 512 * 2**20  # of one law or checkpoint, as a file
    body_bytes = 1 * 2**20
    answer_bytes = 1 * 2**30  # uncompressed frames or numbers in one answer; a larger selection is read in parts
    answer_pixels = 32 * 2**20  # of one picture or animation


def _no_text(value: Any) -> Any:
    if isinstance(value, str | bytes):
        raise ValueError("a number is needed, not text")
    return value


def _exact(value: Any) -> Any:
    if isinstance(value, float) and abs(value) >= 2**53:
        raise ValueError(f"from 2**53 = {2**53} on, a whole number is written without point and exponent")
    return _no_text(value)


# Numbers of JSON, taken as what they are. pydantic alone would read the text "1_000" as 1000, and with a point or an
# exponent a parser may have rounded a large number already.
EXACT, NO_TEXT = BeforeValidator(_exact), BeforeValidator(_no_text)
Whole = Annotated[int, EXACT]
Real = Annotated[float, NO_TEXT]


class Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _no_truth_values(cls, data: Any) -> Any:
        """No key takes true or false, and Python would count them as 1 and 0."""
        for key, value in data.items() if isinstance(data, dict) else ():
            if any(isinstance(v, bool) for v in (value if isinstance(value, list | tuple) else (value,))):
                raise ValueError(f"{key} = {json.dumps(value)[:80]}: true and false are no values here")
        return data


def _kind_required(schema: dict[str, Any]) -> None:
    schema["required"] = ["kind", *schema.get("required", ())]


class Start(Model):
    """A start state. Its default `kind` is for Python; in JSON the kind says which start it is."""

    model_config = ConfigDict(json_schema_extra=_kind_required)


class ComplexNoise(Start):
    """theta ~ strength * N(0, 1) per channel, psi = exp(i theta): the default start, of norm sqrt(d) per cell."""

    kind: Literal["complex_noise"] = "complex_noise"
    strength: Real = Field(default=0.1, ge=0, le=LIMITS.strength)


class RandomState(Start):
    """Haar-random unit vectors: re, im ~ N(0, 1) divided by the norm of the cell."""

    kind: Literal["random"] = "random"


class Zeros(Start):
    """All cells zero: the law's biases start everything."""

    kind: Literal["zeros"] = "zeros"


class FromJob(Start):
    """The state of another job at a step where its `psi` was recorded, or at its last step."""

    kind: Literal["state"] = "state"
    job: str = Field(pattern=JOB_ID)
    step: Whole = Field(ge=0, le=LIMITS.steps)


class Upload(Start):
    """A state uploaded to `POST /v1/states`, named by its digest."""

    kind: Literal["upload"] = "upload"
    id: str = Field(pattern=r"^[0-9a-f]{64}$")


Initial = Annotated[ComplexNoise | RandomState | Zeros | FromJob | Upload, Field(discriminator="kind")]


class Recording(Model):
    """One field, stored every `every` steps: frame i is step i * every, frame 0 the start state."""

    field: str = Field(json_schema_extra={"enum": list(FIELDS)})
    every: Whole = Field(ge=1, le=LIMITS.steps)
    dtype: Literal["float16", "float32", "complex64"] | None = None

    @field_validator("field")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in FIELDS:
            raise ValueError(f"unknown field {name!r}; known: {', '.join(FIELDS)}")
        return name

    @model_validator(mode="after")
    def _dtype_of_field(self) -> Recording:
        allowed = FIELDS[self.field].dtypes
        if self.dtype is not None and self.dtype not in allowed:
            raise ValueError(f"field {self.field!r} cannot be stored as {self.dtype}; allowed: {', '.join(allowed)}")
        return self

    @property
    def stored_dtype(self) -> str:
        return self.dtype or FIELDS[self.field].dtypes[0]


_SOME_OBSERVABLES: dict[str, Any] = {
    "items": {"type": "string", "enum": [*OBSERVABLES, *RENAMED_OBSERVABLES]},
    "minItems": 1,
    "uniqueItems": True,
}


class Observe(Model):
    """Numbers per step, all of them on one schedule."""

    every: Whole = Field(ge=1, le=LIMITS.steps)
    names: tuple[str, ...] = Field(default=tuple(OBSERVABLES), json_schema_extra=_SOME_OBSERVABLES)

    @field_validator("names")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in OBSERVABLES and name not in RENAMED_OBSERVABLES:
                raise ValueError(f"unknown observable {name!r}; known: {', '.join(OBSERVABLES)}")
        if len(set(names)) != len(names) or not names:
            raise ValueError("observable names must be a non-empty list without repeats")
        return names


Precision = Literal["nf4", "int8", "bf16", "fp32", "auto"]


def _sides(grid: tuple[int, int]) -> tuple[int, int]:
    low, high = LIMITS.side
    for side in grid:
        if not low <= side <= high:
            raise ValueError(f"grid side {side} is outside [{low}, {high}]")
    return grid


def _few_and_short(tags: dict[str, str]) -> dict[str, str]:
    if len(tags) > LIMITS.tags:
        raise ValueError(f"{len(tags)} tags; at most {LIMITS.tags}")
    for key, value in tags.items():
        if not 1 <= len(key) <= 64 or len(value) > 256:
            raise ValueError(f"tag {key[:64]!r}: a key has 1 to 64 characters, a value at most 256")
    return tags


# For the API's document; the functions above say in a refusal what these cannot.
_SIDE: dict[str, Any] = {"type": "integer", "minimum": LIMITS.side[0], "maximum": LIMITS.side[1]}
_GRID = {"type": "array", "items": _SIDE, "minItems": 2, "maxItems": 2}  # not every reader knows prefixItems
_SHORT = {
    "examples": [{"project": "first-light"}],
    "maxProperties": LIMITS.tags,
    "propertyNames": {"minLength": 1, "maxLength": 64},
    "additionalProperties": {"type": "string", "maxLength": 256},
}
Grid = Annotated[tuple[Whole, Whole], AfterValidator(_sides), WithJsonSchema(_GRID)]
Tags = Annotated[dict[str, str], AfterValidator(_few_and_short), Field(json_schema_extra=_SHORT)]


# In the API's document; each can be sent as it is.
EXAMPLE_JOB: dict[str, Any] = {
    "law": "aurora",
    "grid": [64, 64],
    "steps": 100,
    "seed": 7,
    "record": [{"field": "phase", "every": 10}],
    "observe": {"every": 10},
    "tags": {"project": "first-light"},
}
EXAMPLE_SWEEP: dict[str, Any] = {
    "base": {"law": "aurora", "grid": [32, 32], "steps": 100, "observe": {"every": 10}},
    "axes": {"gamma": [0.0, 0.01], "seed": {"start": 0, "count": 2}},
}


class JobSpec(Model):
    """One universe to run: a law, a grid, a start, a number of steps, and what to keep of it."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE_JOB]})

    law: str = Field(pattern=LAW_NAME, examples=["aurora"])
    grid: Grid = Field(examples=[[64, 64]], description="[H, W] in cells")
    steps: Whole = Field(ge=1, le=LIMITS.steps, examples=[1000])
    seed: Whole = Field(default=0, ge=0, le=LIMITS.seed)
    initial: Initial = ComplexNoise()
    gamma: Real = Field(
        default=0.01,
        ge=0,
        le=LIMITS.gamma,
        description="damping. Left out in a job that starts from another job's state: the gamma of that job",
    )
    precision: Precision = Field(
        default="auto",
        description="auto: the cheapest with a passing fidelity verdict. "
        "Left out in a job that starts from another job's state: the precision of that job",
    )
    record: tuple[Recording, ...] = ()
    observe: Observe | None = None
    priority: Whole = Field(default=4, ge=0, le=9, description="9 is the most urgent")
    deadline_s: Annotated[float, Field(gt=0, le=30 * 86400), NO_TEXT] | None = Field(
        default=None, description="seconds from submission after which a job that has not ended fails"
    )
    ttl_s: Annotated[float, Field(gt=0, le=3650 * 86400), NO_TEXT] | None = Field(
        default=None,
        description="seconds from the job's end for which its frames and its last state are kept; the record stays. "
        "null: the service's LEYM_TTL_S, which may be for ever",
    )
    tags: Tags = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _no_webhook(cls, data: Any) -> Any:
        """Earlier versions stored a webhook and never called it. Null, which every spec of theirs has, is harmless."""
        if not isinstance(data, dict) or "webhook" not in data:
            return data
        if data["webhook"] is not None:
            raise ValueError(
                f"webhook = {json.dumps(data['webhook'], default=str)[:80]}: webhooks are not called by this version; "
                "leave the key out, and poll GET /v1/jobs/{id}?wait=30 or read /v1/jobs/{id}/events"
            )
        return {key: value for key, value in data.items() if key != "webhook"}

    @field_validator("record")
    @classmethod
    def _one_recording_per_field(cls, record: tuple[Recording, ...]) -> tuple[Recording, ...]:
        names = [r.field for r in record]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"field {name!r} is recorded twice; a job has one recording per field")
        return record

    @model_validator(mode="after")
    def _schedule_fits(self) -> JobSpec:
        for i, r in enumerate(self.record):
            _check_schedule(f"record.{i}.every", r.every, self.steps)
        if self.observe:
            _check_schedule("observe.every", self.observe.every, self.steps)
        return self

    @property
    def total_steps(self) -> int:
        """The work of the job, in steps of its grid."""
        return self.steps

    def frames_of(self, every: int) -> int:
        """Frames of a recording: steps 0, every, 2 every, … <= steps."""
        return self.steps // every + 1

    def stored_bytes(self, d_state: int) -> int:
        """Uncompressed bytes that the recordings of this job take in the store."""
        h, w = self.grid
        total = 0
        for r in self.record:
            cell = {"float16": 2, "float32": 4, "complex64": 8}[r.stored_dtype]
            total += self.frames_of(r.every) * h * w * cell * (d_state if FIELDS[r.field].per_channel else 1)
        return total


def stored_spec(stored: Mapping[str, Any]) -> JobSpec:
    """The JobSpec of a row, which an earlier version may have written: its webhook is ignored."""
    return JobSpec.model_validate({key: value for key, value in stored.items() if key != "webhook"})


INHERITED = ("gamma", "precision")


def inherit(spec: JobSpec, source: Mapping[str, Any]) -> JobSpec:
    """Take what `spec` leaves out of `INHERITED` from `source`, the spec of the job whose state it starts from.

    Law and grid are not among them because a JobSpec must have both, and the seed is not because a new job draws its
    random numbers from step 0 again.
    """
    left_out = {key: source[key] for key in INHERITED if key not in spec.model_fields_set and key in source}
    return spec.model_copy(update=left_out)


def _check_schedule(key: str, every: int, steps: int) -> None:
    if every > steps:
        raise ValueError(f"{key} = {every} is over steps = {steps}")
    if steps // every + 1 > LIMITS.frames:
        raise ValueError(f"{key} = {every} gives {steps // every + 1} frames; at most {LIMITS.frames}")


class SeedRange(Model):
    """`count` seeds from `start` on."""

    start: Whole = Field(default=0, ge=0, le=LIMITS.seed)
    count: Whole = Field(ge=1, le=LIMITS.sweep_jobs)


Values = Annotated[list[Any], Field(json_schema_extra={"minItems": 1})]


class SweepSpec(Model):
    """A base JobSpec and, per key of it, the values to run: their product, or zipped."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE_SWEEP]})

    base: dict[str, Any] = Field(examples=[EXAMPLE_SWEEP["base"]])
    axes: dict[str, Values | SeedRange] = Field(
        min_length=1,
        examples=[EXAMPLE_SWEEP["axes"]],
        json_schema_extra={"propertyNames": {"pattern": rf"^({'|'.join(JobSpec.model_fields)})(\..+)?$"}},
    )
    mode: Literal["product", "zip"] = "product"

    @model_validator(mode="after")
    def _sizes(self) -> SweepSpec:
        lengths = {key: len(values) for key, values in self.values().items()}
        for key, n in lengths.items():
            if n == 0:
                raise ValueError(f"axis {key!r} has no values")
            if key.split(".")[0] not in JobSpec.model_fields:
                raise ValueError(f"axis {key!r} is no key of a JobSpec")
        if self.mode == "zip" and len(set(lengths.values())) > 1:
            raise ValueError(f"zipped axes must have equal lengths, got {lengths}")
        size = self.size()
        if size > LIMITS.sweep_jobs:
            raise ValueError(f"the sweep has {size} jobs; at most {LIMITS.sweep_jobs}")
        return self

    def values(self) -> dict[str, list[Any]]:
        return {
            key: list(range(v.start, v.start + v.count)) if isinstance(v, SeedRange) else v
            for key, v in self.axes.items()
        }

    def size(self) -> int:
        lengths = [len(v) for v in self.values().values()]
        if self.mode == "zip":
            return lengths[0]
        size = 1
        for n in lengths:
            size *= n
        return size

    def points(self) -> list[dict[str, Any]]:
        """The value of every axis, for each member in order (the last axis varies fastest)."""
        values = self.values()
        rows = zip(*values.values(), strict=True) if self.mode == "zip" else product(*values.values())
        return [dict(zip(values, row, strict=True)) for row in rows]

    def members(self) -> list[tuple[dict[str, Any], JobSpec]]:
        """Each point of the sweep with its JobSpec; raises pydantic.ValidationError on the first that is no JobSpec."""
        return [(point, JobSpec.model_validate(with_point(self.base, point))) for point in self.points()]


def with_point(base: dict[str, Any], point: dict[str, Any]) -> dict[str, Any]:
    """`base` with each dotted key of `point` set, e.g. `initial.strength`: of the default start if `base` has none."""
    spec = dict(base)
    if "initial" not in spec and any(key.startswith("initial.") for key in point):
        spec["initial"] = {"kind": ComplexNoise().kind}
    for key, value in point.items():
        *parents, last = key.split(".")
        node = spec
        for parent in parents:
            child = node.get(parent)
            node[parent] = dict(child) if isinstance(child, dict) else {}
            node = node[parent]
        node[last] = value
    return spec
