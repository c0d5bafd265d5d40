"""Wraps flask-openapi: the app class, routers, descriptions of responses, and the docs page.

No other module of `app` imports flask-openapi, so that another library could replace it here.
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
from flask_openapi.blueprint import APIBlueprint
from flask_openapi.models.info import Info
from flask_openapi.models.license import License
from flask_openapi.models.media_type import MediaType
from flask_openapi.models.request_body import RequestBody
from flask_openapi.models.tag import Tag
from flask_openapi.openapi import OpenAPI
from flask_openapi.types import ResponseDict
from pydantic import BaseModel, ValidationError

from app.errors import validation_problem
from app.models.problems import ProblemBody
from leym import __version__

OPENAPI_VERSION = "3.1.1"
JSON, PROBLEM, OCTETS = "application/json", "application/problem+json", "application/octet-stream"
EVENTS = "text/event-stream"

ABOUT = """Runs Ley M universes as jobs: submit a law, a grid and a number of steps; get frames, observables, pictures
and live events. A frame's id is its step in every transport. Every error is an RFC 9457 problem whose `errors` name
the key, the value and the limit."""

SCHEMAS = "#/components/schemas/{model}"
BYTES = {"type": "string", "format": "binary"}  # OpenAPI 3.1 needs no schema here, but client generators do

_pydantic_schemas: dict[str, tuple[type[BaseModel], Literal["serialization", "validation"]]] = {}
_literal_schemas: dict[str, dict[str, Any]] = {}
_ANY_ROUTE = (400, 401, 403, 405, 408, 414, 421, 429, 431, 500, 503)  # problems that every route may answer


class _UnsortedJSONProvider(DefaultJSONProvider):
    sort_keys = False


def make_app(name: str) -> OpenAPI:
    """Return a Flask app that validates requests with pydantic models and describes itself at /openapi.json."""

    def refuse(error: ValidationError) -> Response:
        raise validation_problem(error)

    app = OpenAPI(
        name,
        static_folder=None,
        info=Info(
            title="Ley M simulation service",
            version=__version__,
            description=ABOUT,
            license=License(name="MIT", identifier="MIT"),
        ),
        operation_id_callback=_operation_id,
        validation_error_model=ProblemBody,
        validation_error_callback=refuse,
        security_schemes={"token": {"type": "http", "scheme": "bearer"}},
        doc_ui=False,
    )
    app.openapi_version = OPENAPI_VERSION
    app.json = _UnsortedJSONProvider(app)  # the order of media types matters, see `content`
    return app


def router(name: str, description: str) -> APIBlueprint:
    """Return a blueprint whose routes are grouped under one tag in the docs."""
    tag = Tag(name=name, description=description)
    return APIBlueprint(name, f"app.{name}", abp_tags=[tag], operation_id_callback=_operation_id)


def _operation_id(*, name: str, **_: Any) -> str:
    """Return the name of a route's function, which is its operation id."""
    return name


def responses(ok: dict[int, type[BaseModel] | dict[str, Any] | str], *problems: int) -> ResponseDict:
    """Describe the responses of a route, including the problems that every route may answer.

    Args:
        ok: The body of each status: a model, the result of `content`, or a sentence that describes an empty body.
        problems: Statuses of further problems.
    """
    found: ResponseDict = {
        str(status): {"description": body} if isinstance(body, str) else body for status, body in ok.items()
    }
    for status in sorted({*problems, *_ANY_ROUTE, 422}):
        schema = {"$ref": SCHEMAS.format(model=ProblemBody.__name__)}
        found[str(status)] = {"description": HTTPStatus(status).phrase, "content": {PROBLEM: {"schema": schema}}}
    return found


def content(description: str, *types: str, schema: type[BaseModel] | None = None, **headers: str) -> dict[str, Any]:
    """Describe a response with a body.

    Args:
        description: The description of the response.
        types: Media types. The first must fit every response, since some generators read all responses as the first.
        schema: Schema of a JSON body, or of each event of a stream; bodies of other types are text or bytes.
        headers: Descriptions of headers, by the header's name with `_` for `-`.
    """
    by_type: dict[str, Any] = {}
    for media_type in types:
        if media_type == JSON and schema:
            by_type[media_type] = {"schema": {"$ref": SCHEMAS.format(model=schema.__name__)}}
            _pydantic_schemas[schema.__name__] = schema, "serialization"  # flask-openapi does not find it here
        elif media_type == EVENTS and schema:  # one event for generators that know streams, all of the text for others
            event = {"$ref": SCHEMAS.format(model=schema.__name__)}
            by_type[media_type] = {"schema": {"anyOf": [event, {"type": "string"}]}}
            use_pydantic_schema(schema)
        elif media_type == JSON:
            by_type[media_type] = {"schema": {"type": "object"}}
        elif media_type.startswith("text/"):
            by_type[media_type] = {"schema": {"type": "string"}}
        else:
            by_type[media_type] = {"schema": BYTES}
    response: dict[str, Any] = {"description": description}
    if by_type:
        response["content"] = by_type
    if headers:
        response["headers"] = {
            name.replace("_", "-"): {"description": meaning, "schema": {"type": "string"}}
            for name, meaning in headers.items()
        }
    return response


def partial_responses(*types: str) -> dict[int, type[BaseModel] | dict[str, Any] | str]:
    """Describe the responses with which `app.conditional` replaces a complete body of one of `types`."""
    part = content("The requested range of the body", *types, Content_Range="the range, and the complete size")
    return {206: part, 304: "The body has not changed"}


def operation_links(*operations: str, **parameters: str) -> dict[str, dict[str, Any]]:
    """Describe OpenAPI links from a response to operations.

    Args:
        operations: Operation ids.
        parameters: The parameter of these operations that a part of the response fills, e.g. id="$response.body#/id".
    """
    return {operation: {"operationId": operation, "parameters": parameters} for operation in operations}


def use_pydantic_schema(model: type[BaseModel]) -> None:
    """Publish pydantic's own schema of a body: flask-openapi drops keywords that it does not know (`propertyNames`)."""
    _pydantic_schemas[model.__name__] = model, "validation"


def describe_raw_body(
    api: APIBlueprint, path: str, types: dict[str, dict[str, Any]], description: str, method: str = "post"
) -> None:
    """Describe the body of a route that no model validates.

    Args:
        api: The router of the route.
        path: The rule of the route.
        types: The schema of each media type.
        description: The description of the body.
        method: The method of the route.
    """
    template = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", path)
    operation = getattr(api.paths[template], method)
    operation.requestBody = RequestBody(
        description=description,
        content={media_type: MediaType(schema=schema) for media_type, schema in types.items()},
        required=True,
    )


def add_schema(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    """Publish a literal schema under a name, with keywords that flask-openapi would drop, and return its reference."""
    _literal_schemas[name] = {"title": name} | schema
    return {"$ref": SCHEMAS.format(model=name)}


def _complete(document: dict[str, Any]) -> dict[str, Any]:
    """Add to flask-openapi's document what it leaves out: schemas, examples, and defaults in words."""
    document["servers"] = [{"url": request.script_root or "/"}]  # the path prefix that a proxy adds
    document["security"] = [{"token": []}, {}]  # a service that has no tokens needs none
    schemas = document["components"]["schemas"]
    for name, (model, mode) in _pydantic_schemas.items():
        schema = model.model_json_schema(mode=mode, ref_template=SCHEMAS)
        for inner, definition in schema.pop("$defs", {}).items():
            schemas.setdefault(inner, definition)
        schemas[name] = schema
    schemas |= _literal_schemas
    for schema in schemas.values():
        for key, described in schema.get("properties", {}).items():
            _describe_default(described, optional=key not in schema.get("required", ()))
    for path in document["paths"].values():
        for operation in path.values():
            if "description" in operation:
                operation["description"] = operation["description"].replace("<br/>", "\n").strip()
            body = operation.get("requestBody", {}).get("content", {}).get(JSON)
            if body:  # importers look for the example here; Swagger UI would invent one from the types
                body["example"] = schemas[body["schema"]["$ref"].rpartition("/")[2]]["examples"][0]
            for parameter in operation.get("parameters", ()):
                parameter["schema"] = without_null(parameter["schema"])
    return document


def _describe_default(schema: dict[str, Any], optional: bool) -> None:
    """Move the default of a body's key into its description.

    Clients should leave out a key that they do not set, and let the service choose. Client generators that see
    `default` either send their copy of it, which may differ in a later version, or make the key required.
    """
    default = schema.pop("default", None)
    if optional and default is not None:
        sentence = f"default: `{json.dumps(default)}`"
        schema["description"] = f"{schema['description']}; {sentence}" if "description" in schema else sentence


def without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Remove null from a parameter's schema: a query or a header cannot express it, and is left out instead."""
    kept = [choice for choice in schema.get("anyOf", ()) if choice != {"type": "null"}]
    return {k: v for k, v in schema.items() if k != "anyOf"} | kept[0] if len(kept) == 1 else schema


def json_content(
    model: type[BaseModel], description: str, followed_by: dict[str, dict[str, Any]] | None = None, **headers: str
) -> dict[str, Any]:
    """Describe a JSON response that has OpenAPI links (see `operation_links`) or headers."""
    return content(description, JSON, schema=model, **headers) | ({"links": followed_by} if followed_by else {})


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
        "style-src 'self' 'unsafe-inline'",  # Swagger UI sets styles on its elements
        "img-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)


def docs(app: OpenAPI) -> Blueprint:
    """Return the routes of `/openapi.json` and of `/docs`, where Swagger UI comes from an installed package."""
    pages = Blueprint("docs", __name__)

    @pages.get("/openapi.json")
    def document() -> dict[str, Any]:
        return _complete(app.api_doc)

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
