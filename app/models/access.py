"""Models of the web page's session and of shared links."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.models.base import EXAMPLE_ID, Body, Parameters
from leym.contract.model import Model
from leym.contract.spec import EXAMPLE_JOB, Whole


class TokenBody(BaseModel):
    """The token that a session begins with."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"token": "leym_…"}]})

    token: str = Field(max_length=200)


class SessionBody(Body):
    """Project and scopes that the session's token gives access to."""

    project: str
    scopes: list[str]
    token: bool = Field(description="true if a token was shown; false while the service has no tokens")


class LinkRequest(Model):
    """Request for a shared link."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"ttl_s": 86400}]})

    ttl_s: Whole = Field(86400, ge=1, le=30 * 86400, description="seconds until the link expires")


class AnyLinkBody(Body):
    """A shared link. Everything but its id gives access to what it shares."""

    id: str = Field(description="to revoke it")
    page: str = Field(description="path of the page for people")
    record: str = Field(description="path of the job or sweep as JSON; parts of it are below")
    store: str = Field(description="path of the Zarr hierarchy, for xarray.open_zarr")
    created_at: str
    expires_at: str


class LinkBody(AnyLinkBody):
    """A shared link to the results of one job."""

    frames: str = Field(description="path of the frames; append /{field}?format=…")


class SweepLinkBody(AnyLinkBody):
    """A shared link to a sweep."""

    table: str = Field(description="path of the table; append ?format=…")


class LinkList(Body):
    """The links to a job or a sweep that hold, oldest first."""

    items: list[AnyLinkBody]
    next: str | None


class LinkPath(Parameters):
    """Path of a link of a job or a sweep."""

    id: str = Field(max_length=64)
    link: str = Field(max_length=64, description="id of the link")


class SharedBody(Body):
    """Shows what a link shares."""

    kind: Literal["job", "sweep"]
    record: dict[str, Any] = Field(description="the job or the sweep", examples=[{"id": EXAMPLE_ID}])
    spec: dict[str, Any] = Field(examples=[EXAMPLE_JOB])
    law: dict[str, Any] | None = Field(description="the law; null if it was removed", examples=[{"name": "aurora"}])
    provenance: dict[str, Any] = Field(examples=[{"format": 1, "kind": "job", "id": EXAMPLE_ID}])
    citation: str
    downloads: dict[str, str] = Field(description="paths by name", examples=[{"zip": "/v1/shared/…/export"}])
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


class SharedPartPath(SharedPath):
    """Path of a part of what a link shares."""

    part: str = Field(max_length=512)
