"""Signatures of Standard Webhooks (https://www.standardwebhooks.com), version v1: HMAC-SHA256."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence

PREFIX = "whsec_"


def headers(secrets: Sequence[str], id: str, at: float, body: bytes) -> dict[str, str]:
    """Return the headers of one attempt.

    Args:
        secrets: `whsec_` and 32 bytes in base64; each signs, so that receivers can change theirs.
        id: the event, the same for all attempts.
        at: time of the attempt in seconds since 1970; receivers refuse old ones.
        body: what is sent.
    """
    seconds = int(at)
    signed = f"{id}.{seconds}.".encode() + body
    return {
        "webhook-id": id,
        "webhook-timestamp": str(seconds),
        "webhook-signature": " ".join(f"v1,{_signature(secret, signed)}" for secret in secrets),
    }


def _signature(secret: str, signed: bytes) -> str:
    key = base64.b64decode(secret.removeprefix(PREFIX))
    return base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
