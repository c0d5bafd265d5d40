"""The page's session: a token goes into a cookie that scripts cannot read and other sites cannot send."""

from __future__ import annotations

from flask import Response, request

from app.identity import COOKIE, caller_of
from app.models import SessionBody, TokenBody
from app.openapi import answers, router
from app.views import json_answer

api = router("session", "The web page's session")


@api.post("/v1/session", responses=answers({200: SessionBody}, 401, 415))
def begin_session(body: TokenBody) -> Response:
    """Begin a session: the cookie holds the token from now on."""
    token = body.token.strip()
    caller = caller_of(token)
    response = json_answer({"project": caller.project, "scopes": sorted(caller.scopes)})
    response.set_cookie(COOKIE, token, httponly=True, samesite="Strict", secure=request.is_secure, path=_path())
    return response


@api.delete("/v1/session", responses=answers({204: "The cookie is gone"}))
def end_session() -> Response:
    """End the session."""
    response = Response(status=204)
    response.delete_cookie(COOKIE, httponly=True, samesite="Strict", secure=request.is_secure, path=_path())
    return response


def _path() -> str:
    """Other services below other prefixes of the same site are not shown the token."""
    return request.script_root or "/"
