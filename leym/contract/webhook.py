"""Webhook: a URL that the service calls when a job, a training or a sweep has ended."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from leym.contract.model import Model

URL_LENGTH = 2048
WEBHOOK = "called at the end, see docs/webhooks.md; not part of the stored spec"
# types of events: KIND.STATE
EVENTS = (
    *("job.succeeded", "job.failed", "job.cancelled"),
    *("fidelity.succeeded", "fidelity.failed", "fidelity.cancelled"),
    *("training.succeeded", "training.failed", "training.cancelled"),
    "sweep.finished",
)


def _callable_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or not (url.isascii() and url.isprintable()) or " " in url or "\\" in url:
        raise ValueError("expected http://HOST… or https://HOST… in ASCII, without spaces")
    if "@" in parts.netloc or "#" in url:
        raise ValueError("a URL with a user, a password or a fragment cannot be called; put a key into its path")
    return url


class Webhook(Model):
    """A URL that gets a signed POST (Standard Webhooks) when the work has ended; see docs/webhooks.md."""

    url: Annotated[str, AfterValidator(_callable_url)] = Field(
        max_length=URL_LENGTH, description="http or https", examples=["https://example.org/leym"]
    )


def without_webhook(spec: dict[str, Any]) -> dict[str, Any]:
    """Return the JSON of a spec without its webhook, which is kept beside the spec and never shown with it."""
    return {key: value for key, value in spec.items() if key != "webhook"}


def without_null_webhook(spec: dict[str, Any]) -> dict[str, Any]:
    """Return the JSON of a request without a `webhook` that is null, as versions wrote it that had no such key."""
    return spec if spec.get("webhook") is not None else without_webhook(spec)
