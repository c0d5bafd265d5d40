"""Completes ids and laws in the shell; a service that does not answer within a second completes nothing.

`leym --install-completion` switches it on.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer

TIMEOUT_S = 1.0
LISTED = 100  # the newest, of jobs and sweeps


def jobs(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Return ids of jobs that begin like this, each with its law and state."""
    items = _items(context, f"/v1/jobs?limit={LISTED}")
    found = [(str(job["id"]), f"{str(job['law']).partition('@')[0]}, {job['state']}") for job in items]
    return [(id, about) for id, about in found if id.startswith(incomplete)]


def sweeps(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Return ids of sweeps that begin like this, each with its number of members."""
    items = _items(context, f"/v1/sweeps?limit={LISTED}")
    return [(str(s["id"]), f"{s['size']} members") for s in items if str(s["id"]).startswith(incomplete)]


def laws(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Return names of laws that begin like this, each with its architecture."""
    items = _items(context, "/v1/laws")
    return [(str(s["name"]), str(s["architecture"])) for s in items if str(s["name"]).startswith(incomplete)]


def things(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Return ids of jobs and sweeps and names of laws that begin like this."""
    return [*laws(context, incomplete), *sweeps(context, incomplete), *jobs(context, incomplete)]


JobId = Annotated[str, typer.Argument(metavar="ID", help="job id", autocompletion=jobs)]
JobIds = Annotated[list[str], typer.Argument(metavar="ID...", help="job ids", autocompletion=jobs)]
SweepId = Annotated[str, typer.Argument(metavar="ID", help="sweep id", autocompletion=sweeps)]
LawName = Annotated[str, typer.Argument(metavar="LAW", help="name or name@digest", autocompletion=laws)]


def _items(context: typer.Context, path: str) -> list[dict[str, Any]]:
    """Return the items of a list of the service; none if anything is wrong, for a shell has no place for errors."""
    import httpx2

    from leym.client.errors import LeymError
    from leym.client.http import Http
    from leym.settings import SettingsError, read_settings

    try:
        options, configured = context.find_root().params, read_settings()
        token = options.get("token") or configured.token
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        http = Http(options.get("url") or configured.url, timeout_s=TIMEOUT_S, headers=headers)
        try:
            return list(http.json("GET", path, having=("items",), timeout=TIMEOUT_S, repeatable=False)["items"])
        finally:
            http.close()
    except (LeymError, SettingsError, httpx2.HTTPError, OSError, ValueError, KeyError, TypeError):
        return []
