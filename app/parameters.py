"""What models of paths, queries and headers have in common."""

from __future__ import annotations

from functools import cache
from typing import Any

from pydantic import BaseModel


class Parameters(BaseModel):
    """flask-openapi asks for the schema at every request, and making it takes longer than the validation: kept."""

    @classmethod
    def model_json_schema(cls, *args: Any, **options: Any) -> dict[str, Any]:
        return super().model_json_schema(*args, **options) if args or options else _schema(cls)


@cache
def _schema(model: type[Parameters]) -> dict[str, Any]:
    return BaseModel.model_json_schema.__func__(model)  # type: ignore[attr-defined]
