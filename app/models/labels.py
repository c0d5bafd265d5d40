"""Models of the labels of jobs and sweeps: name, note, star and tags."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import ConfigDict, Field, StrictBool

from app.models.base import EXAMPLE_TAGS, PageQuery
from leym.contract.model import EXACT, Model
from leym.contract.spec import LIMITS, Tags

NOTE_LENGTH, SEARCH_LENGTH = 10_000, 200
EXAMPLE_LABELS: dict[str, Any] = {"name": "the one with spirals", "note": "gamma is near the edge", "starred": True}


class LabelsBody(Model):
    """Change of the labels of a job. Keys that are left out stay as they are."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [EXAMPLE_LABELS]})

    name: str | None = Field(None, min_length=1, max_length=LIMITS.name, description="null removes it")
    note: str | None = Field(None, min_length=1, max_length=NOTE_LENGTH, description="null removes it")
    starred: StrictBool = False
    tags: Tags = Field(default_factory=dict, description="in place of all tags before", examples=[EXAMPLE_TAGS])

    def labels(self) -> dict[str, Any]:
        """Return the labels that the request names, with their new values."""
        return {key: getattr(self, key) for key in ("name", "note", "starred", "tags") if key in self.model_fields_set}


class SweepChange(LabelsBody):
    """Change of a sweep. Keys that are left out stay as they are."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"priority": 7, **EXAMPLE_LABELS}]})

    # the bounds stand inside the union, where the OpenAPI document shows them
    priority: Annotated[int, Field(ge=0, le=9), EXACT] | None = Field(None, description="9 is the most urgent")


class LabelsQuery(PageQuery):
    """Filters of a list by labels."""

    starred: bool | None = Field(None, description="true or 1: only those with a star; false or 0: only those without")
    q: str | None = Field(
        None, min_length=1, max_length=SEARCH_LENGTH, description="text that occurs in the name, the note or the tags"
    )
