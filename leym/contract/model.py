"""Base class of all specs, and types of numbers that accept JSON numbers only."""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, model_validator


def _no_text(value: Any) -> Any:
    if isinstance(value, str | bytes):
        raise ValueError("a number is needed, not text")
    return value


def _exact(value: Any) -> Any:
    if isinstance(value, float) and abs(value) >= 2**53:
        raise ValueError(f"from 2**53 = {2**53} on, a whole number is written without point and exponent")
    return _no_text(value)


# pydantic alone would read the text "1_000" as 1000. It would also accept a large number with a point or an exponent,
# which a JSON parser may have rounded already.
EXACT, NO_TEXT = BeforeValidator(_exact), BeforeValidator(_no_text)
Whole = Annotated[int, EXACT]
Real = Annotated[float, NO_TEXT]


class Model(BaseModel):
    """Immutable model that refuses unknown keys, NaN, infinities, and truth values where a number belongs."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _no_truth_values(cls, data: Any) -> Any:
        """Refuse true and false, which Python would accept as the numbers 1 and 0."""
        for key, value in data.items() if isinstance(data, dict) else ():
            field = cls.model_fields.get(key)
            if field is not None and field.annotation is bool:
                continue
            if any(isinstance(v, bool) for v in (value if isinstance(value, list | tuple) else (value,))):
                raise ValueError(f"{key} = {json.dumps(value)[:80]}: true and false are no values here")
        return data
