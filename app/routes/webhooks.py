"""Webhooks: the log of deliveries, and the secret that signs them."""

from __future__ import annotations

from typing import Any

from flask import Response

from app.models.base import IdPath
from app.models.webhooks import DeliveriesQuery, DeliveryBody, DeliveryPage, SecretBody
from app.openapi import json_content, responses, router
from app.services import current_services
from app.views import json_response
from leym.contract.record_bodies import rfc3339
from leym.jobs.webhooks import Delivery

api = router("webhooks", "Events of work that has ended, sent to the URL of its `webhook`")

REPLAYED = json_content(DeliveryBody, "The event is delivered again")


@api.get("/v1/webhooks/deliveries", responses=responses({200: DeliveryPage}))
def list_deliveries(query: DeliveriesQuery) -> Response:
    """List deliveries, newest first. They are kept for 30 days."""
    found, following = current_services().table.list_deliveries(
        subject=query.job, state=query.state, limit=query.limit, cursor=query.cursor
    )
    return json_response({"items": [_delivery_body(delivery) for delivery in found], "next": following})


@api.post("/v1/webhooks/deliveries/<id>/replay", responses=responses({202: REPLAYED}, 404, 409, 415))
def replay_delivery(path: IdPath) -> Response:
    """Deliver an event again, now and with all retries. The `webhook-id` and the body stay the same."""
    return json_response(_delivery_body(current_services().table.replay(path.id)), 202)


@api.get("/v1/webhooks/secret", responses=responses({200: SecretBody}))
def get_webhook_secret() -> Response:
    """Get the secret of the project, with which a receiver verifies signatures. The first request makes it."""
    return _secret_response(current_services().table.webhook_secrets())


@api.post("/v1/webhooks/secret", responses=responses({200: SecretBody}, 415))
def replace_webhook_secret() -> Response:
    """Replace the secret of the project. For 24 hours both sign, so that receivers can change theirs."""
    table = current_services().table
    table.replace_webhook_secret()
    return _secret_response(table.webhook_secrets())


def _secret_response(secrets: list[str]) -> Response:
    body = {"secret": secrets[0], "previous": secrets[1] if len(secrets) > 1 else None}
    return json_response(body, Cache_Control="no-store")


def _delivery_body(delivery: Delivery) -> dict[str, Any]:
    return {
        "id": delivery.id,
        "type": delivery.type,
        "subject": delivery.subject,
        "url": delivery.url,
        "state": delivery.state,
        "attempts": delivery.attempts,
        "created_at": rfc3339(delivery.created_at),
        "next_at": rfc3339(delivery.next_at),
        "log": delivery.log,
    }
