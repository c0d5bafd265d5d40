"""Models of error responses."""

from __future__ import annotations

from pydantic import BaseModel, Field

from app.models.base import Body


class BrokenKey(Body):
    """A key of the request that breaks a rule."""

    pointer: str = Field(
        description="JSON pointer into the body, or `/name` of a query parameter or header", examples=["/steps"]
    )
    detail: str = Field(description="names the key, its value and the limit")


class ProblemBody(BaseModel):
    """An RFC 9457 problem. Some problems have further members."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    instance: str | None = None
    errors: list[BrokenKey] = Field(default_factory=list)
