"""The web page's session: a cookie holds the token; scripts cannot read it and other sites cannot send it."""

from __future__ import annotations

from flask import Response, request

from app.identity import COOKIE, authenticate
from app.models.access import SessionBody, TokenBody
from app.openapi import responses, router
from app.views import json_response

api = router("session", "The web page's session")


@api.post("/v1/session", responses=responses({200: SessionBody}, 401, 415))
def begin_session(body: TokenBody) -> Response:
    """Begin a session: from now on, a cookie holds the token."""
    token = body.token.strip()
    caller = authenticate(token)
    response = json_response({"project": caller.project, "scopes": sorted(caller.scopes)})
    response.set_cookie(COOKIE, token, httponly=True, samesite="Strict", secure=request.is_secure, path=_cookie_path())
    return response


@api.delete("/v1/session", responses=responses({204: "The cookie is deleted"}))
def end_session() -> Response:
    """End the session."""
    response = Response(status=204)
    response.delete_cookie(COOKIE, httponly=True, samesite="Strict", secure=request.is_secure, path=_cookie_path())
    return response


def _cookie_path() -> str:
    """Return the path prefix of this service, so that services under other prefixes do not get the token."""
    return request.script_root or "/"
