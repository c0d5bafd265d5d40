"""Results of a job: fields to record (`record`), observables (`observe`), and states to keep (`keep_states`)."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from leym.contract.catalog import DEFAULT_OBSERVABLES, FIELDS, OBSERVABLES, RENAMED_OBSERVABLES
from leym.contract.limits import LIMITS
from leym.contract.model import Model, Whole


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
        """The dtype of stored frames: the requested one, or the default of the field."""
        return self.dtype or FIELDS[self.field].dtypes[0]


class KeepStates(Model):
    """States to keep: those at the steps every, 2 every, …, with everything that a continuation needs."""

    every: Whole = Field(ge=1, le=LIMITS.steps)


_SOME_OBSERVABLES: dict[str, Any] = {
    "items": {"type": "string", "enum": [*OBSERVABLES, *RENAMED_OBSERVABLES]},
    "minItems": 1,
    "uniqueItems": True,
}


class Observe(Model):
    """Observables, all computed every `every` steps; further ones than the default of `names` have to be named."""

    every: Whole = Field(ge=1, le=LIMITS.steps)
    names: tuple[str, ...] = Field(default=DEFAULT_OBSERVABLES, json_schema_extra=_SOME_OBSERVABLES)

    @field_validator("names")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in OBSERVABLES and name not in RENAMED_OBSERVABLES:
                raise ValueError(f"unknown observable {name!r}; known: {', '.join(OBSERVABLES)}")
        if len(set(names)) != len(names) or not names:
            raise ValueError("observable names must be a non-empty list without repeats")
        return names
