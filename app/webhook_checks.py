"""Checks the webhook of a request, before anything is accepted."""

from __future__ import annotations

from urllib.parse import urlsplit

from app.errors import excerpt
from leym.common.addresses import is_public, literal
from leym.contract.problems import invalid
from leym.contract.webhook import Webhook
from leym.settings import Settings


def check_webhook(settings: Settings, webhook: Webhook | None, *, reuse: bool = False) -> None:
    """Refuse a webhook whose URL spells out an address that must not be called; names are checked at each call.

    Raises:
        Problem: 422.
    """
    if webhook is None:
        return
    if reuse:
        detail = f"webhook = {excerpt(webhook.url)}: with reuse = true, an earlier job may serve, which calls no URL"
        raise invalid(f"{detail}; leave out one of the two", "/webhook")
    if settings.webhook_private:
        return
    host = urlsplit(webhook.url).hostname or ""
    address = literal(host)
    if address is not None and not is_public(address):
        detail = f"webhook.url = {excerpt(webhook.url)}: {host} is no public address"
        raise invalid(f"{detail}; the operator may permit it with LEYM_WEBHOOK_PRIVATE = 1", "/webhook/url")
