"""The one module that knows flask-openapi: the app class, routers, how answers are described, and the docs page.

Everything else in `app` uses these few names, so another library could take its place here.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from hashlib import sha256
from http import HTTPStatus
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from flask import Blueprint, Response, request, send_from_directory
from flask.json.provider import DefaultJSONProvider
from flask_openapi import APIBlueprint, Info, License, MediaType, OpenAPI, RequestBody, Tag
from flask_openapi.types import ResponseDict
from pydantic import BaseModel, ValidationError

from app.errors import problem_of_validation
from app.models import ProblemBody
from leym import __version__

OPENAPI_VERSION = "3.1.1"
JSON, PROBLEM, OCTETS = "application/json", "application/problem+json", "application/octet-stream"
EVENTS = "text/event-stream"

ABOUT = """Runs Ley M universes as jobs: submit a law, a grid and a number of steps; get frames, observables, pictures
and live events. A frame's id is its step in every transport. Every error is an RFC 9457 problem whose `errors` name
the key, the value and the bound."""

SCHEMAS = "#/components/schemas/{model}"
BYTES = {"type": "string", "format": "binary"}  # OpenAPI 3.1 allows no schema at all, and generators need one

_described: dict[str, tuple[type[BaseModel], Literal["serialization", "validation"]]] = {}  # by pydantic alone
_forms: dict[str, dict[str, Any]] = {}  # schemas that no model makes
_OF_EVERY_ROUTE = (400, 401, 403, 405, 414, 421, 429, 431, 500, 503)


class _InOrder(DefaultJSONProvider):
    sort_keys = False


def make_app(name: str) -> OpenAPI:
    """A Flask app that validates requests by pydantic models and describes itself at /openapi.json."""

    def refuse(error: ValidationError) -> Response:
        raise problem_of_validation(error)

    app = OpenAPI(
        name,
        static_folder=None,
        info=Info(
            title="Ley M simulation service",
            version=__version__,
            description=ABOUT,
            license=License(name="MIT", identifier="MIT"),
        ),
        operation_id_callback=_name,
        validation_error_model=ProblemBody,
        validation_error_callback=refuse,
        security_schemes={"token": {"type": "http", "scheme": "bearer"}},
        doc_ui=False,
    )
    app.openapi_version = OPENAPI_VERSION
    app.json = _InOrder(app)  # the order of media types means something: see `media`
    return app


def router(name: str, description: str) -> APIBlueprint:
    """A group of routes, shown together in the docs."""
    tag = Tag(name=name, description=description)
    return APIBlueprint(name, f"app.{name}", abp_tags=[tag], operation_id_callback=_name)


def _name(*, name: str, **_: Any) -> str:
    """The function of a route is its operation id."""
    return name


def answers(ok: dict[int, type[BaseModel] | dict[str, Any] | str], *problems: int) -> ResponseDict:
    """The `responses` of a route: what it answers (a model, `media(…)` or a sentence for an empty body), and which
    problems beside those that any route may answer."""
    found: ResponseDict = {
        str(status): {"description": body} if isinstance(body, str) else body for status, body in ok.items()
    }
    for status in sorted({*problems, *_OF_EVERY_ROUTE, 422}):
        schema = {"$ref": SCHEMAS.format(model=ProblemBody.__name__)}
        found[str(status)] = {"description": HTTPStatus(status).phrase, "content": {PROBLEM: {"schema": schema}}}
    return found


def media(description: str, *types: str, schema: type[BaseModel] | None = None, **headers: str) -> dict[str, Any]:
    """Describe a body.

    Args:
        description: What the body is.
        types: Media types, the one that fits every answer first: some generators read all answers as the first.
        schema: Of JSON, or of each event of a stream; other types are text or bytes.
        headers: name=meaning.
    """
    content: dict[str, Any] = {}
    for kind in types:
        if kind == JSON and schema:
            content[kind] = {"schema": {"$ref": SCHEMAS.format(model=schema.__name__)}}
            _described[schema.__name__] = schema, "serialization"  # flask-openapi does not see it
        elif kind == EVENTS and schema:  # one event to those who know streams, the whole text to others
            event = {"$ref": SCHEMAS.format(model=schema.__name__)}
            content[kind] = {"schema": {"anyOf": [event, {"type": "string"}]}}
            exact(schema)
        elif kind == JSON:
            content[kind] = {"schema": {"type": "object"}}
        elif kind.startswith("text/"):
            content[kind] = {"schema": {"type": "string"}}
        else:
            content[kind] = {"schema": BYTES}
    shown = {
        name.replace("_", "-"): {"description": meaning, "schema": {"type": "string"}}
        for name, meaning in headers.items()
    }
    return (
        {"description": description} | ({"content": content} if content else {}) | ({"headers": shown} if shown else {})
    )


def parts(*types: str) -> dict[int, type[BaseModel] | dict[str, Any] | str]:
    """Describe what `app.conditional` answers instead of a whole body of one of `types`."""
    part = media("The asked range of it", *types, Content_Range="the range and the whole size")
    return {206: part, 304: "It has not changed"}


def leads_to(*operations: str, **parameters: str) -> dict[str, dict[str, Any]]:
    """OpenAPI links: what of an answer is a parameter of which operations, e.g. id="$response.body#/id"."""
    return {operation: {"operationId": operation, "parameters": parameters} for operation in operations}


def exact(model: type[BaseModel]) -> None:
    """Describe a body as pydantic does, with keywords that flask-openapi does not know (`propertyNames`)."""
    _described[model.__name__] = model, "validation"


def raw_body(
    api: APIBlueprint, path: str, kinds: dict[str, dict[str, Any]], description: str, method: str = "post"
) -> None:
    """Describe that a route takes one of `kinds` (media type: schema), which no model validates."""
    template = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", path)
    operation = getattr(api.paths[template], method)
    operation.requestBody = RequestBody(
        description=description,
        content={kind: MediaType(schema=schema) for kind, schema in kinds.items()},
        required=True,
    )


def form(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    """Keep a schema under a name, as it stands; flask-openapi would drop keywords. Returns the reference to it."""
    _forms[name] = {"title": name} | schema
    return {"$ref": SCHEMAS.format(model=name)}


def _completed(document: dict[str, Any]) -> dict[str, Any]:
    """With the schemas of `media`, defaults in words, and docstrings as they were written."""
    document["servers"] = [{"url": request.script_root or "/"}]  # beside this document, wherever a proxy puts it
    document["security"] = [{"token": []}, {}]  # without, on a service that has no tokens
    schemas = document["components"]["schemas"]
    for name, (model, mode) in _described.items():
        schema = model.model_json_schema(mode=mode, ref_template=SCHEMAS)
        for inner, definition in schema.pop("$defs", {}).items():
            schemas.setdefault(inner, definition)
        schemas[name] = schema
    schemas |= _forms
    for schema in schemas.values():
        for key, described in schema.get("properties", {}).items():
            _say_default(described, optional=key not in schema.get("required", ()))
    for path in document["paths"].values():
        for operation in path.values():
            if "description" in operation:
                operation["description"] = operation["description"].replace("<br/>", "\n").strip()
            sent = operation.get("requestBody", {}).get("content", {}).get(JSON)
            if sent:  # where importers look for it; Swagger UI would make one up from the types
                sent["example"] = schemas[sent["schema"]["$ref"].rpartition("/")[2]]["examples"][0]
            for parameter in operation.get("parameters", ()):
                parameter["schema"] = without_null(parameter["schema"])
    return document


def _say_default(schema: dict[str, Any], optional: bool) -> None:
    """Move the default of a body's key into its description.

    A client leaves out what it does not mean, and the service decides. Generators that see `default` either send their
    copy of it, which a later version may not share, or make the key required.
    """
    default = schema.pop("default", None)
    if optional and default is not None:
        said = f"default: `{json.dumps(default)}`"
        schema["description"] = f"{schema['description']}; {said}" if "description" in schema else said


def without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Of a parameter: it is left out, and never null, which a query or a header cannot say."""
    kept = [choice for choice in schema.get("anyOf", ()) if choice != {"type": "null"}]
    return {k: v for k, v in schema.items() if k != "anyOf"} | kept[0] if len(kept) == 1 else schema


def json_body(
    model: type[BaseModel], description: str, links: dict[str, dict[str, Any]] | None = None, **headers: str
) -> dict[str, Any]:
    """A JSON body with links or headers worth describing."""
    return media(description, JSON, schema=model, **headers) | ({"links": links} if links else {})


START = """
SwaggerUIBundle({url: "openapi.json", dom_id: "#ui", deepLinking: true, docExpansion: "list",
  defaultModelsExpandDepth: 0, validatorUrl: null, tryItOutEnabled: true});
"""
DOCS = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Ley M API</title><link rel="icon" href="data:,">
<link rel="stylesheet" href="docs/css/swagger-ui.css"></head>
<body><div id="ui"></div><script src="docs/js/swagger-ui-bundle.js"></script><script>{START}</script></body></html>"""
DOCS_POLICY = "; ".join(
    (
        "default-src 'none'",
        f"script-src 'self' 'sha256-{b64encode(sha256(START.encode()).digest()).decode()}'",
        "style-src 'self' 'unsafe-inline'",  # Swagger UI styles its elements
        "img-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)


def docs(app: OpenAPI) -> Blueprint:
    """`/openapi.json`, and `/docs`: Swagger UI from the installed package, so that it needs no internet."""
    pages = Blueprint("docs", __name__)

    @pages.get("/openapi.json")
    def document() -> dict[str, Any]:
        return _completed(app.api_doc)

    @pages.get("/docs")
    def page() -> Response:
        response = Response(DOCS, content_type="text/html; charset=utf-8")
        response.headers["Content-Security-Policy"] = DOCS_POLICY
        return response

    spec = find_spec("flask_openapi_swagger")
    if spec and spec.origin:
        folder = Path(spec.origin).parent / "templates" / "swagger"

        @pages.get("/docs/<any(css, js):kind>/<string:file>")
        def asset(kind: str, file: str) -> Response:
            return send_from_directory(folder / kind, file, max_age=86400)

    return pages
