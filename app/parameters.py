"""What models of paths, queries and headers have in common."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any, get_args

from pydantic import BaseModel, model_validator

_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")


class Parameters(BaseModel):
    """flask-openapi asks for the schema at every request, and making it takes longer than the validation: kept."""

    @model_validator(mode="before")
    @classmethod
    def _plain_numbers(cls, data: Any) -> Any:
        """A number is written in digits: Python would also take 1_0, spaces and digits of other scripts."""
        for name, field in cls.model_fields.items():
            text = data.get(key := field.alias or name) if isinstance(data, dict) else None
            kinds = {field.annotation, *get_args(field.annotation)}
            if isinstance(text, str) and kinds & {int, float} and not _NUMBER.fullmatch(text):
                raise ValueError(f"{key} = {json.dumps(text)[:80]}: a number in digits is needed")
        return data

    @classmethod
    def model_json_schema(cls, *args: Any, **options: Any) -> dict[str, Any]:
        return super().model_json_schema(*args, **options) if args or options else _schema(cls)


@cache
def _schema(model: type[Parameters]) -> dict[str, Any]:
    return BaseModel.model_json_schema.__func__(model)  # type: ignore[attr-defined]
