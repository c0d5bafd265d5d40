"""Models of trainings."""

from __future__ import annotations

from typing import Literal

from app.models.base import Query


class CurveQuery(Query):
    """Query of a curve."""

    format: Literal["json", "csv"] = "json"
