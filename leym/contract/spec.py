"""JobSpec: the description of a job that client, API and worker share.

Every model refuses unknown keys, and every bound lives in `LIMITS`, so that a refusal can name the key, the value and
the bound.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, WithJsonSchema, field_validator, model_validator

from leym.contract.catalog import FIELDS
from leym.contract.gamma import Gamma, gamma_from, gamma_within, schedule_of
from leym.contract.initial import (
    ComplexNoise,
    Continue,
    FromJob,
    Initial,
    RandomState,
    Seed,
    Smooth,
    StoredState,
    Upload,
    Zeros,
)
from leym.contract.interventions import AnyIntervention, misfits
from leym.contract.limits import JOB_ID, LAW_NAME, LIMITS
from leym.contract.model import EXACT, NO_TEXT, Model, Real, Whole
from leym.contract.recording import KeepStates, Observe, Recording
from leym.contract.webhook import WEBHOOK, Webhook, without_webhook

__all__ = [
    "EXACT",
    "EXAMPLE_JOB",
    "INHERITED",
    "JOB_ID",
    "LAW_NAME",
    "LIMITS",
    "NO_TEXT",
    "ComplexNoise",
    "Continue",
    "FromJob",
    "Grid",
    "Initial",
    "JobSpec",
    "KeepStates",
    "Model",
    "Observe",
    "Precision",
    "RandomState",
    "Real",
    "Recording",
    "Seed",
    "Smooth",
    "StoredState",
    "Tags",
    "Upload",
    "Webhook",
    "Whole",
    "Zeros",
    "inherit",
    "stored_spec",
]

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


# Schemas for the OpenAPI document. The functions above give the reason of a refusal, which a schema cannot.
_SIDE: dict[str, Any] = {"type": "integer", "minimum": LIMITS.side[0], "maximum": LIMITS.side[1]}
_GRID = {
    "type": "array",
    "items": _SIDE,
    "minItems": 2,
    "maxItems": 2,
}  # some readers of OpenAPI do not know prefixItems
_SHORT = {
    "examples": [{"project": "first-light"}],
    "maxProperties": LIMITS.tags,
    "propertyNames": {"minLength": 1, "maxLength": 64},
    "additionalProperties": {"type": "string", "maxLength": 256},
}
Grid = Annotated[tuple[Whole, Whole], AfterValidator(_sides), WithJsonSchema(_GRID)]
Tags = Annotated[dict[str, str], AfterValidator(_few_and_short), Field(json_schema_extra=_SHORT)]


# Example of the OpenAPI document; a valid request.
EXAMPLE_JOB: dict[str, Any] = {
    "law": "aurora",
    "grid": [64, 64],
    "steps": 100,
    "seed": 7,
    "record": [{"field": "phase", "every": 10}],
    "observe": {"every": 10},
    "tags": {"project": "first-light"},
}


class JobSpec(Model):
    """One universe to run: a law, a grid, a start state, a number of steps, and the results to keep."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE_JOB]})

    law: str = Field(pattern=LAW_NAME, examples=["aurora"])
    grid: Grid = Field(examples=[[64, 64]], description="[H, W] in cells")
    steps: Whole = Field(ge=1, le=LIMITS.steps, examples=[1000])
    seed: Whole = Field(default=0, ge=0, le=LIMITS.seed)
    initial: Initial = ComplexNoise()
    gamma: Gamma = Field(
        default=0.01,
        description="damping: a number, or a schedule `[[0, 0.01], [500, 0.05]]` of values from a step on. "
        "Left out in a job that starts from another job's state: the gamma of that job from that step on",
    )
    precision: Precision = Field(
        default="auto",
        description="auto: the cheapest with a passing fidelity verdict. "
        "Left out in a job that starts from another job's state: the precision of that job",
    )
    record: tuple[Recording, ...] = ()
    observe: Observe | None = None
    interventions: tuple[AnyIntervention, ...] = Field(
        default=(),
        max_length=LIMITS.interventions,
        description="changes to the state at given steps; those of one step in this order",
    )
    keep_states: KeepStates | None = Field(
        default=None, description="states to keep with the results, from which other jobs can go on bit for bit"
    )
    reuse: bool = Field(
        default=False,
        strict=True,
        description="true: return the job that has run, or runs, the same universe to the same step, or go on from one "
        "that has run it to an earlier step",
    )
    priority: Whole = Field(default=4, ge=0, le=9, description="9 is the most urgent")
    deadline_s: Annotated[float, Field(gt=0, le=30 * 86400), NO_TEXT] | None = Field(
        default=None, description="seconds from submission after which a job that has not ended fails"
    )
    ttl_s: Annotated[float, Field(gt=0, le=3650 * 86400), NO_TEXT] | None = Field(
        default=None,
        description="seconds from the job's end for which its frames and its last state are kept; the record stays. "
        "null: the service's LEYM_TTL_S, which may be for ever",
    )
    name: str | None = Field(
        default=None,
        min_length=1,
        max_length=LIMITS.name,
        description="what people call it; PATCH changes it, and it changes no result",
    )
    tags: Tags = Field(default_factory=dict)
    webhook: Webhook | None = Field(default=None, description=WEBHOOK)

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
        continues = isinstance(self.initial, Continue)  # then a schedule may have no step in the part that is left
        for i, r in enumerate(self.record):
            _check_schedule(f"record.{i}.every", r.every, self.steps, may_be_empty=continues)
        if self.observe:
            _check_schedule("observe.every", self.observe.every, self.steps, may_be_empty=continues)
        if self.keep_states and (n := self.steps // self.keep_states.every) > LIMITS.kept_states:
            raise ValueError(
                f"keep_states.every = {self.keep_states.every} keeps {n} states; at most {LIMITS.kept_states}"
            )
        if self.steps <= self.begins_at:
            raise ValueError(
                f"steps = {self.steps}: steps count on the lineage's clock, which is at {self.begins_at} already; "
                f"at least {self.begins_at + 1} is needed"
            )
        for i, (step, _) in enumerate(schedule_of(self.gamma)):
            if step >= self.steps:
                raise ValueError(f"gamma.{i}.0 = {step}: it must be below steps = {self.steps}")
        return self

    @model_validator(mode="after")
    def _interventions_fit(self) -> JobSpec:
        for i, one in enumerate(self.interventions):
            if one.step is None:
                raise ValueError(f"interventions.{i}.step = null: the step of an intervention is required")
            if one.step >= self.steps:
                raise ValueError(f"interventions.{i}.step = {one.step}: it must be below steps = {self.steps}")
            for reason in misfits(one, self.grid):
                raise ValueError(f"interventions.{i}.{reason}")
        return self

    @property
    def total_steps(self) -> int:
        """Last step of the job."""
        return self.steps

    @property
    def begins_at(self) -> int:
        """Step from which the job computes: 0, or that of the state from which it continues another job."""
        return self.initial.step if isinstance(self.initial, Continue) else 0

    def first_frame(self, every: int) -> int:
        """Return the number n of the first frame of a recording, at step n every.

        It is 0, the start state; in a job that continues another one, the first frame after the state it begins with.
        """
        return self.begins_at // every + 1 if isinstance(self.initial, Continue) else 0

    def frames_of(self, every: int) -> int:
        """Count the frames of a recording: steps 0, every, 2 every, … <= steps, from the first frame on."""
        return self.steps // every + 1 - self.first_frame(every)

    def stored_bytes(self, d_state: int) -> int:
        """Compute the uncompressed bytes of all recordings and kept states; `d_state` is the number of channels."""
        h, w = self.grid
        total = 0
        for r in self.record:
            cell = {"float16": 2, "float32": 4, "complex64": 8}[r.stored_dtype]
            total += self.frames_of(r.every) * h * w * cell * (FIELDS[r.field].depth(d_state) or 1)
        if self.keep_states:
            every = self.keep_states.every
            total += (self.steps // every - self.begins_at // every) * h * w * d_state * 8
        return total


def stored_spec(stored: Mapping[str, Any]) -> JobSpec:
    """Parse the spec of a stored job. The webhook of specs that earlier versions wrote is ignored."""
    return JobSpec.model_validate(without_webhook(dict(stored)))


INHERITED = ("gamma", "precision")


def inherit(spec: JobSpec, source: Mapping[str, Any]) -> JobSpec:
    """Copy the keys in `INHERITED` that `spec` does not set from `source`, the spec of the job that it starts from.

    Law and grid are not inherited because a JobSpec requires both. The seed is not inherited because a new job draws
    its random numbers from step 0 again.
    """
    left_out = {key: source[key] for key in INHERITED if key not in spec.model_fields_set and key in source}
    if "gamma" in left_out and isinstance(spec.initial, FromJob):  # its steps count from 0 again
        left_out["gamma"] = gamma_from(left_out["gamma"], spec.initial.step, spec.steps)
    elif "gamma" in left_out:
        left_out["gamma"] = gamma_within(left_out["gamma"], spec.steps)
    return spec.model_copy(update=left_out)


def _check_schedule(key: str, every: int, steps: int, *, may_be_empty: bool) -> None:
    if every > steps and not may_be_empty:
        raise ValueError(f"{key} = {every} is over steps = {steps}")
    if steps // every + 1 > LIMITS.frames:
        raise ValueError(f"{key} = {every} gives {steps // every + 1} frames; at most {LIMITS.frames}")
