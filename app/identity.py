"""Authenticates callers and checks their scopes.

A caller shows a bearer token or the page's cookie; while the service has no tokens, everybody may do everything. Each
route of the API must be listed in SCOPE_OF, with the scopes that it needs, or in OPEN: a route in neither is refused.
"""

from __future__ import annotations

import os
import socket
from ipaddress import ip_address
from typing import Any

from flask import Flask, g, request

from app.services import service_wide
from leym.contract.identity import EVERYONE, Caller
from leym.contract.problems import Problem

COOKIE = "leym_token"

SCOPE_OF = {
    **dict.fromkeys(
        (
            *("jobs.submit_job", "sweeps.submit_sweep", "states.upload_state", "fidelity.judge_law"),
            *("lineage.extend_job", "lineage.fork_job"),
            *("sweeps.add_members", "sweeps.resume_sweep", "sweeps.retry_sweep", "sweeps.change_sweep"),
            "quotes.get_quote",
            *("webhooks.replay_delivery", "webhooks.get_webhook_secret", "webhooks.replace_webhook_secret"),
            "interventions.intervene_in_job",
            "jobs.change_job",
        ),
        "submit",
    ),
    **dict.fromkeys(
        (
            *("jobs.list_jobs", "jobs.get_job", "jobs.get_history", "events.stream_events"),
            *("events.stream_many_events", "stream.stream_frames", "stream.stream_member_frames"),
            *("lineage.list_states", "lineage.get_state", "lineage.get_lineage"),
            *(
                "results.list_fields",
                "trainings.get_curve",
                "results.get_frames",
                "results.get_observables",
                "store.get_store_object",
            ),
            *("cells.get_cell", "cells.get_histogram", "members.get_member_cell", "members.get_member_histogram"),
            *("sweeps.list_sweeps", "sweeps.get_sweep", "sweeps.list_sweep_jobs", "sweeps.get_sweep_table"),
            *("sweeps.get_sweep_summary", "sweeps.get_sweep_atlas"),
            *("members.get_member", "members.list_member_fields", "members.get_member_frames"),
            *("members.get_member_observables", "members.get_member_object", "members.stream_member_events"),
            "store.get_sweep_object",
            *("laws.list_laws", "laws.get_law", "fidelity.get_fidelity", "fidelity.get_verdict"),
            *("queue.list_workers", "queue.get_queue", "webhooks.list_deliveries"),
            "interventions.list_interventions",
            "tiles.get_tiles",
            *("shared.share_job", "shared.share_sweep", "shared.list_job_links", "shared.list_sweep_links"),
            *("shared.revoke_job_link", "shared.revoke_sweep_link", "exports.export_job", "exports.export_sweep"),
        ),
        "read",
    ),
    **dict.fromkeys(
        (
            *("jobs.cancel_job", "jobs.delete_job", "sweeps.cancel_sweep", "sweeps.delete_sweep"),
            *("sweeps.pause_sweep", "members.cancel_member"),
        ),
        "cancel",
    ),
    **dict.fromkeys(("laws.put_law", "laws.delete_law"), "laws"),
    "trainings.submit_training": "submit laws",
    "operation.get_metrics": "admin",
}
# probes, docs and the page expose no project's data; a session starts with a token; a shared link authorizes itself
OPEN = ("operation.get_health", "operation.get_readiness", "docs.", "page.", "shared_page.", "session.", "shared.get_")


def register(app: Flask) -> None:
    """Make `app` authenticate every request, and give routes the services of the caller's project."""

    @app.before_request
    def identify() -> None:
        endpoint = request.endpoint
        if endpoint is None or endpoint.startswith(OPEN) or request.method == "OPTIONS":
            return
        scopes = SCOPE_OF.get(endpoint, "").split()
        caller = authenticate(presented_token())
        if not scopes or not all(map(caller.may, scopes)):
            needed = " and ".join(map(repr, scopes))
            raise Problem(403, "Forbidden", f"this request needs a token with the scope {needed}")
        g.caller = caller
        g.services = service_wide().for_project(caller.project)


def authenticate(token: str | None) -> Caller:
    """Return the caller that a token belongs to.

    Args:
        token: A token, or None if the request has none.

    Raises:
        Problem: 401 if the token is not valid, or is missing although the service has tokens.
    """
    table = service_wide().table
    if token is not None:
        found = table.caller(token)
        if found is not None:
            return found
        raise Problem(401, "Unauthorized", "the token is unknown, expired or revoked")
    if table.has_tokens():
        raise Problem(401, "Unauthorized", "this service requires a token: Authorization: Bearer TOKEN")
    return EVERYONE


def presented_token() -> str | None:
    """Return the token that the request shows, as a bearer token or by the page's cookie; None without one."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token:
        return token.strip()
    return request.cookies.get(COOKIE)


def check_address(addresses: list[Any], has_tokens: bool, proxies: int = 0) -> str | None:
    """Return why it is unsafe to listen on these addresses, or None if it is safe.

    Args:
        addresses: Addresses in gunicorn's form: (host, port), the number of an open socket, or the path of a local one.
        has_tokens: True if the service has a token or ever had one.
        proxies: LEYM_PROXIES. A proxy on this machine lets requests of others in through loopback.
    """
    if has_tokens:
        return None
    if proxies:
        return (
            f"LEYM_PROXIES = {proxies}: behind a proxy, anybody could use a service that has no tokens; create one with"
            " `leym tokens create`"
        )
    for address in addresses:
        if isinstance(address, int):  # a socket that another process, such as systemd, has bound
            with socket.socket(fileno=os.dup(address)) as bound:
                address = bound.getsockname()
        if isinstance(address, tuple) and not _is_loopback(address[0]):
            return (
                f"{address[0] or 'every address'} is not a loopback address, and anybody could use a service that has"
                " no tokens; create one with `leym tokens create`"
            )
    return None


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:  # a name may resolve to any address
        return False
