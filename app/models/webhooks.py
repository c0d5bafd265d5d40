"""Models of webhooks: deliveries and secrets."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from app.models.base import EXAMPLE_ID, Body, PageQuery

DeliveryState = Literal["pending", "delivered", "failed"]


class AttemptBody(Body):
    """One attempt to deliver an event."""

    at: str
    status: int | None = Field(description="status of the answer; null if there was none")
    duration_s: float
    error: str | None = Field(description="why the attempt failed; null if the receiver took the event")


class DeliveryBody(Body):
    """An event of a job or a sweep that has ended, and the attempts to deliver it."""

    id: str = Field(description="the `webhook-id` of every attempt", examples=[EXAMPLE_ID])
    type: str = Field(description="as in the event, for example `job.succeeded`")
    subject: str = Field(description="id of the job or sweep", examples=[EXAMPLE_ID])
    url: str
    state: DeliveryState = Field(description="`pending` until it is delivered or given up")
    attempts: int = Field(description="since the event, or since the last replay")
    created_at: str
    next_at: str | None = Field(description="time of the next attempt; null if there is none")
    log: list[AttemptBody] = Field(description="the last 20 attempts, oldest first")


class DeliveryPage(Body):
    """One page of a list of deliveries."""

    items: list[DeliveryBody]
    next: str | None = Field(description="cursor of the next page; null on the last page")


class DeliveriesQuery(PageQuery):
    """Filters of the list of deliveries."""

    job: str | None = Field(None, max_length=64, description="id of a job, a training or a sweep")
    state: DeliveryState | None = None


class SecretBody(Body):
    """The secret that signs the events of a project."""

    secret: str = Field(description="`whsec_` and 32 bytes in base64", examples=["whsec_MDEyMzQ1Njc4OWFiY2RlZg=="])
    previous: str | None = Field(description="the secret before it, which signs too for 24 hours; null without one")
