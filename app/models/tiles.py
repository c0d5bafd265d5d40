"""Models of tiles: small pictures of many jobs in one answer."""

from __future__ import annotations

from pydantic import Field

from app.models.base import EXAMPLE_ID, Query
from app.models.jobs import JOB_IDS


class TilesQuery(Query):
    """Query that names jobs, and says how much of each is shown."""

    jobs: str = Field(pattern=JOB_IDS, description="ids separated by commas, 100 at most", examples=[EXAMPLE_ID])
    frames: int = Field(1, ge=1, le=32, description="most frames of each: the newest, and others at equal distances")
    side: int = Field(64, ge=8, le=128, description="most cells of the longer side; else every n-th cell is sent")
