"""The web page: one document, one script and one style sheet, and nothing from other sites."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

from flask import Blueprint, Response, request, send_from_directory
from markupsafe import escape

from app.services import service_wide

page = Blueprint("page", __name__)

STATIC = Path(__file__).parents[1] / "static"
IMMUTABLE = "public, max-age=31536000, immutable"
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)


@page.get("/")
def index() -> Response:
    """Show the page."""
    response = Response(document(), content_type="text/html; charset=utf-8")
    response.headers["Content-Security-Policy"] = POLICY
    response.headers["Cache-Control"] = "no-cache"
    response.add_etag()
    response.make_conditional(request)
    return response


@page.get("/static/<any('lists.js', 'page.js', 'page.css', 'shared.js'):name>")
def asset(name: str) -> Response:
    """Send a script or the style sheet. The document links to it by version, so caches may keep that version."""
    response = send_from_directory(STATIC, name, max_age=300)
    if request.args.get("v") == _version(name):
        response.headers["Cache-Control"] = IMMUTABLE
    return response


def document() -> str:
    """Return the HTML of the page. Its addresses are relative to the root of the service."""
    return _document(service_wide().settings.flower_url)


@cache
def _document(flower_url: str) -> str:
    document = (STATIC / "page.html").read_text(encoding="utf-8")
    flower = f' <a href="{escape(flower_url)}">Flower</a>' if flower_url else ""
    document = document.replace("<!-- Flower -->", flower)
    for name in ("lists.js", "page.js", "page.css"):
        document = document.replace(f"static/{name}", f"static/{name}?v={_version(name)}")
    return document


@cache
def _version(name: str) -> str:
    return hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:16]
