"""The web page: one document, its modules and style sheets, and nothing from other sites."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from functools import cache
from pathlib import Path

from flask import Blueprint, Response, request
from markupsafe import escape

from app.services import service_wide
from leym import viewer
from leym.contract.problems import not_found

page = Blueprint("page", __name__)

STATIC = Path(__file__).parents[1] / "static"
IMMUTABLE = "public, max-age=31536000, immutable"
TYPES = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
    ".webp": "image/webp",
}
STYLE = "page.css"  # stands in the document itself, so that the first paint waits for one answer only


@page.get("/")
def index() -> Response:
    """Show the page."""
    response = Response(document(), content_type="text/html; charset=utf-8")
    response.headers["Content-Security-Policy"] = policy()
    response.headers["Cache-Control"] = "no-cache"
    response.add_etag()
    response.make_conditional(request)
    return response


@page.get("/static/<path:path>")
def asset(path: str) -> Response:
    """Send a file of the page.

    The document links to `static/v-VERSION/…`, and modules import each other by relative paths, so all of them get the
    version in their address and caches may keep them. Other addresses, also those of an earlier version, are checked
    each time.
    """
    version, _, rest = path.partition("/")
    name = rest if version.startswith("v-") else path
    found = _files().get(name)
    if found is None:
        raise not_found("file", name)
    response = Response(found.read_bytes(), content_type=TYPES[found.suffix])
    response.headers["Cache-Control"] = IMMUTABLE if version == f"v-{_version()}" else "no-cache"
    response.add_etag()
    response.make_conditional(request)
    return response


def document() -> str:
    """Return the HTML of the page. Its addresses are relative to the root of the service."""
    return _document(service_wide().settings.flower_url)


@cache
def policy() -> str:
    """Return the Content-Security-Policy of the document: the service's files, and its style by digest."""
    digest = b64encode(hashlib.sha256(_style().encode()).digest()).decode()
    rules = (
        "default-src 'none'",
        "script-src 'self'",
        f"style-src 'self' 'sha256-{digest}'",
        "img-src 'self' blob: data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
    return "; ".join(rules)


@cache
def _files() -> dict[str, Path]:
    """Return the files that are sent, by their paths: only these, whatever a request asks for.

    Those of the viewer, which notebooks show too, have the same kind of address as the page's own.
    """
    folders = (STATIC, viewer.STATIC)
    found = {p.relative_to(folder).as_posix(): p for folder in folders for p in folder.rglob("*") if p.suffix in TYPES}
    return dict(sorted(found.items()))


@cache
def _document(flower_url: str) -> str:
    document = (STATIC / "page.html").read_text(encoding="utf-8")
    flower = f' <a href="{escape(flower_url)}">Flower</a>' if flower_url else ""
    document = document.replace("<!-- Flower -->", flower).replace("/* Style */", _style())
    return document.replace('"static/', f'"static/v-{_version()}/')


@cache
def _style() -> str:
    return (STATIC / STYLE).read_text(encoding="utf-8")


@cache
def _version() -> str:
    """Return a digest of all files of the page."""
    digest = hashlib.sha256()
    for name, path in _files().items():
        digest.update(f"{name}\0{path.stat().st_size}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:16]
