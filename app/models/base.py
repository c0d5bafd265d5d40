"""Base classes of the models, and the types, parameters and examples that several topics share."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

from leym.contract.spec import EXAMPLE_JOB, JOB_ID

State = Literal["queued", "running", "paused", "succeeded", "failed", "cancelled"]
Verdict = Literal["pass", "fail", "inconclusive"]
PAGE_LIMIT = 200  # jobs or sweeps per page

# Examples of mappings whose keys the OpenAPI document cannot name.
EXAMPLE_ID = "01ja0000000000000000000000"
EXAMPLE_OBSERVABLES = {"coherence": 0.412, "activity": 0.018}
EXAMPLE_POINT = {"gamma": 0.01, "seed": 1}
EXAMPLE_COUNTS = {"queued": 0, "running": 1, "succeeded": 3}
EXAMPLE_BUCKET = {"law": "aurora@1f0c6c5d", "precision": "fp32", "grid": [64, 64]}
EXAMPLE_TAGS = EXAMPLE_JOB["tags"]

_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")


class Body(BaseModel):
    """Base class of response bodies that always have all of their keys, and no others."""

    model_config = ConfigDict(extra="forbid", json_schema_serialization_defaults_required=True)


class Parameters(BaseModel):
    """Base class of path parameters, queries and headers."""

    @model_validator(mode="before")
    @classmethod
    def _plain_numbers(cls, data: Any) -> Any:
        """Refuse numbers that are not plain digits: Python also accepts `1_0`, spaces and digits of other scripts."""
        for name, field in cls.model_fields.items():
            text = data.get(key := field.alias or name) if isinstance(data, dict) else None
            types = {field.annotation, *get_args(field.annotation)}
            if isinstance(text, str) and types & {int, float} and not _NUMBER.fullmatch(text):
                raise ValueError(f"{key} = {json.dumps(text)[:80]}: a number in digits is needed")
        return data

    @classmethod
    def model_json_schema(cls, *args: Any, **options: Any) -> dict[str, Any]:
        """Return the schema, cached: flask-openapi asks for it at every request, and building it is slow."""
        return super().model_json_schema(*args, **options) if args or options else _cached_schema(cls)


@cache
def _cached_schema(model: type[Parameters]) -> dict[str, Any]:
    schema: dict[str, Any] = super(Parameters, model).model_json_schema()
    return schema


class Query(Parameters):
    """Base class of queries. Unknown parameters are refused, so that a misspelt filter does not match everything."""

    model_config = ConfigDict(extra="forbid")


class IdPath(Parameters):
    """Path of a job or a sweep."""

    id: str = Field(max_length=64)


class MemberPath(IdPath):
    """Path of one member of a sweep."""

    index: int = Field(ge=0, description="index of the member: the axes in order, the last one varies fastest")


class PageQuery(Query):
    """Query of a list that comes in pages."""

    limit: int = Field(50, ge=1, le=PAGE_LIMIT)
    cursor: str | None = Field(None, pattern=JOB_ID, description="`next` of the previous page")


class IdempotencyHeader(Parameters):
    """Header that makes a submission safe to repeat.

    A repeated request with the same key returns the first job; the same key with another body is refused.
    """

    idempotency_key: str | None = Field(None, min_length=1, max_length=255, alias="Idempotency-Key")
