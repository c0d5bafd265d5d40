"""The page of a shared link: the page of the service, with facts and a picture for readers without JavaScript."""

from __future__ import annotations

import json
import re
from typing import Any

from flask import Blueprint, Response, request
from markupsafe import Markup, escape

from app.routes.page import document, policy
from app.routes.shared import open_link, shared_body
from leym.contract.problems import Problem

shared_page = Blueprint("shared_page", __name__)


@shared_page.get("/s/<link>")
def show(link: str) -> Response:
    """Show what a link shares. Whoever has the link needs no account; search engines are asked to leave it alone."""
    try:
        services, scope = open_link(link)
        head, body = _described(shared_body(services, scope, link), link)
        status = 200
    except Problem as problem:
        head = Markup("<title>Ley M</title>")
        body, status = Markup("<h1>This link does not work</h1><p>{}</p>").format(problem.detail), problem.status
    page = document().replace("<title>Ley M</title>", Markup('<base href="../">') + head, 1)
    facts = Markup("<noscript>{}</noscript>").format(body)
    page = re.sub("<noscript>.*?</noscript>", lambda _: facts, page, count=1, flags=re.DOTALL)
    response = Response(page, status, content_type="text/html; charset=utf-8")
    # the addresses of the page are relative to the root of the service, which is one folder up
    response.headers["Content-Security-Policy"] = policy().replace("base-uri 'none'", "base-uri 'self'")
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Robots-Tag"] = "noindex"
    return response


def _described(found: dict[str, Any], link: str) -> tuple[Markup, Markup]:
    """Return the head and the facts of a shared job or sweep as HTML."""
    record, origin = found["record"], found["provenance"]
    law = origin["law"].partition("@")[0]
    what = "universe" if found["kind"] == "job" else f"sweep of {record['size']} universes"
    title = record["name"] or f"{law}: a {what}"
    picture = _picture(found, link)
    text = record["note"] or found["citation"]
    head = Markup("<title>{} · Ley M</title>").format(title)
    head += Markup('<meta name="leym-link" content="{}"><meta name="description" content="{}">').format(link, text)
    head += Markup('<script src="static/shared.js"></script>')
    facts = {"og:title": title, "og:description": text, "og:type": "website", "og:site_name": "Ley M"}
    if picture:
        facts["og:image"] = f"{request.host_url.rstrip('/')}{request.script_root}/{picture}"
    for name, value in facts.items():
        head += Markup('<meta property="{}" content="{}">').format(name, value)
    rows = {
        "Law": origin["law"],
        "Precision": origin["precision"],
        "State": record["state"],
        "Computed": origin["created_at"],
        "Citation": found["citation"],
    }
    body = Markup("<h1>{}</h1>").format(title)
    if record["note"]:
        body += Markup("<p>{}</p>").format(record["note"])
    if picture:
        body += Markup('<p><img src="{}" alt="{}"></p>').format(picture, f"The last frame of {title}")
    body += Markup("<dl>{}</dl>").format(
        Markup("").join(Markup("<dt>{}</dt><dd>{}</dd>").format(key, value) for key, value in rows.items())
    )
    links = Markup("").join(
        Markup('<li><a href="{}">{}</a></li>').format(path, name) for name, path in found["downloads"].items()
    )
    spec = json.dumps(found["spec"], indent=1)
    return head, body + Markup("<h2>Downloads</h2><ul>{}</ul><h2>Spec</h2><pre>{}</pre>").format(links, spec)


def _picture(found: dict[str, Any], link: str) -> str | None:
    """Return the path of the last frame of a job as a png, relative to the root of the service."""
    fields = [name.removesuffix(".npz") for name in found["downloads"] if name.endswith(".npz")]
    if found["kind"] == "sweep" or not fields:
        return None
    field = next((name for name in fields if name != "psi"), fields[0])
    return str(escape(f"v1/shared/{link}/frames/{field}")) + "?format=png&last=1"
