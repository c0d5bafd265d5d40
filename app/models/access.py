"""Models of the web page's session and of shared links."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from app.models.base import Body, Parameters
from leym.contract.spec import Whole


class TokenBody(BaseModel):
    """The token that a session begins with."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"token": "leym_…"}]})

    token: str = Field(max_length=200)


class SessionBody(Body):
    """Project and scopes that the session's token gives access to."""

    project: str
    scopes: list[str]
    token: bool = Field(description="true if a token was shown; false while the service has no tokens")


class LinkRequest(BaseModel):
    """Request for a shared link."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"ttl_s": 86400}]})

    ttl_s: Whole = Field(86400, ge=1, le=30 * 86400, description="seconds until the link expires")


class LinkBody(Body):
    """A shared link to the results of one job."""

    store: str = Field(description="path of the Zarr hierarchy, for xarray.open_zarr")
    frames: str = Field(description="path of the frames; append /{field}?format=…")
    expires_at: str


class SharedPath(Parameters):
    """Path of a shared job."""

    link: str = Field(max_length=512)


class SharedStorePath(SharedPath):
    """Path of one object of a shared job's Zarr hierarchy."""

    key: str = Field(max_length=512)


class SharedFieldPath(SharedPath):
    """Path of one field of a shared job."""

    field: str = Field(max_length=64)
