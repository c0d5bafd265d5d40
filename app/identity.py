"""Who sends a request, and whether they may: a bearer token, the page's cookie, or nobody on a service without tokens.

Every route of the API stands in SCOPE_OF or in OPEN; one that stands in neither is refused.
"""

from __future__ import annotations

import os
import socket
from ipaddress import ip_address
from typing import Any

from flask import Flask, g, request

from app.services import whole
from leym.contract.identity import EVERYONE, Caller
from leym.contract.problems import Problem

COOKIE = "leym_token"

SCOPE_OF = {
    **dict.fromkeys(
        ("jobs.submit_job", "sweeps.submit_sweep", "states.upload_state", "fidelity.judge_law"),
        "submit",
    ),
    **dict.fromkeys(
        (
            *("jobs.list_jobs", "jobs.get_job", "events.stream_events"),
            *("results.list_fields", "results.get_frames", "results.get_observables", "store.get_store_object"),
            *("sweeps.list_sweeps", "sweeps.get_sweep", "sweeps.list_sweep_jobs", "sweeps.get_sweep_table"),
            *("laws.list_laws", "laws.get_law", "fidelity.get_fidelity", "fidelity.get_verdict"),
            *("queue.list_workers", "queue.get_queue", "shared.share_job"),
        ),
        "read",
    ),
    **dict.fromkeys(("jobs.cancel_job", "jobs.delete_job", "sweeps.cancel_sweep"), "cancel"),
    **dict.fromkeys(("laws.put_law", "laws.delete_law"), "laws"),
    "operation.get_metrics": "admin",
}
# probes, documents and the page hold nothing of anybody; a session begins with a token; a shared link is its own proof
OPEN = ("operation.get_health", "operation.get_readiness", "docs.", "page.", "session.", "shared.get_")


def register(app: Flask) -> None:
    @app.before_request
    def identify() -> None:
        endpoint = request.endpoint
        if endpoint is None or endpoint.startswith(OPEN) or request.method == "OPTIONS":
            return
        scope = SCOPE_OF.get(endpoint)
        caller = caller_of(_shown())
        if scope is None or not caller.may(scope):
            raise Problem(403, "Forbidden", f"this token may not do that: the scope {scope!r} is needed")
        g.caller = caller
        g.services = whole().of(caller.project)


def caller_of(token: str | None) -> Caller:
    """Raises Problem 401 when the service asks for a token and this is none, or no good one."""
    table = whole().table
    if token is not None:
        found = table.caller(token)
        if found is not None:
            return found
        raise Problem(401, "Unauthorized", "the token is unknown, expired or revoked")
    if table.has_tokens():
        raise Problem(401, "Unauthorized", "a token is needed: Authorization: Bearer TOKEN")
    return EVERYONE


def _shown() -> str | None:
    kind, _, token = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() == "bearer" and token:
        return token.strip()
    return request.cookies.get(COOKIE)


def check_address(addresses: list[Any], has_tokens: bool, proxies: int = 0) -> str | None:
    """Why a service must not listen there, or None.

    Args:
        addresses: as gunicorn has them: (host, port), the number of an open socket, or the path of a local one.
        has_tokens: whether there is a token, or was one.
        proxies: LEYM_PROXIES. A proxy on this machine lets others in through loopback.
    """
    if has_tokens:
        return None
    if proxies:
        return (
            f"LEYM_PROXIES = {proxies}: behind a proxy anybody could use the service without a token: make one with"
            " `leym tokens create`"
        )
    for address in addresses:
        if isinstance(address, int):  # a socket that somebody else has bound
            with socket.socket(fileno=os.dup(address)) as bound:
                address = bound.getsockname()
        if isinstance(address, tuple) and not _is_loopback(address[0]):
            return (
                f"{address[0] or 'every address'} is no loopback address, and without a token anybody could use the"
                " service: make one with `leym tokens create`"
            )
    return None


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:  # a name may mean any address
        return False
