"""The web page's session: a cookie holds the token; scripts cannot read it and other sites cannot send it."""

from __future__ import annotations

from typing import Any

from flask import Response, request

from app.identity import COOKIE, authenticate, presented_token
from app.models.access import SessionBody, TokenBody
from app.openapi import responses, router
from app.views import json_response
from leym.contract.identity import Caller

api = router("session", "The web page's session")


@api.post("/v1/session", responses=responses({200: SessionBody}, 401, 415))
def begin_session(body: TokenBody) -> Response:
    """Begin a session: from now on, a cookie holds the token."""
    token = body.token.strip()
    caller = authenticate(token)
    response = json_response(_body(caller, token=True))
    response.set_cookie(COOKIE, token, httponly=True, samesite="Strict", secure=request.is_secure, path=_cookie_path())
    return response


@api.get("/v1/session", responses=responses({200: SessionBody}, 401))
def get_session() -> Response:
    """Get the project and scopes that the caller's token, or its absence, gives access to."""
    token = presented_token()
    return json_response(_body(authenticate(token), token=token is not None))


@api.delete("/v1/session", responses=responses({204: "The cookie is deleted"}))
def end_session() -> Response:
    """End the session."""
    response = Response(status=204)
    response.delete_cookie(COOKIE, httponly=True, samesite="Strict", secure=request.is_secure, path=_cookie_path())
    return response


def _body(caller: Caller, token: bool) -> dict[str, Any]:
    return {"project": caller.project, "scopes": sorted(caller.scopes), "token": token}


def _cookie_path() -> str:
    """Return the path prefix of this service, so that services under other prefixes do not get the token."""
    return request.script_root or "/"
