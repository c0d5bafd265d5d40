"""Answers every error, expected or not, as `application/problem+json` (RFC 9457)."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable
from typing import Any

from flask import Flask, Response, request
from pydantic import ValidationError
from pydantic_core import ErrorDetails
from sqlalchemy.exc import DataError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from werkzeug.exceptions import HTTPException

from leym.common.printable import printable
from leym.contract.problems import Problem

log = logging.getLogger(__name__)

RETRY_AFTER_S = 2  # a database or a store takes about that long to restart
EXCERPT_LENGTH = 80  # characters of a refused value that the error repeats
_KEY_IN_MESSAGE = re.compile(r"^([a-z_0-9]+(?:\.[a-z_0-9]+)*) = ")  # "record.0.every = 20 is over steps = 10"


def problem_response(error: Problem, **extra: Any) -> Response:
    """Return the response for a problem. A 503 always has `Retry-After`.

    Args:
        error: The problem.
        extra: Further members of the JSON body.
    """
    body = error.as_dict() | {"instance": request.script_root + request.path} | extra
    response = Response(json.dumps(body), error.status, content_type="application/problem+json")
    response.headers["Cache-Control"] = "no-store"
    if error.status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    if error.status == 426:
        response.headers["Upgrade"] = "websocket"
    retry_after_s = RETRY_AFTER_S if error.status == 503 and error.retry_after_s is None else error.retry_after_s
    if retry_after_s is not None:
        response.headers["Retry-After"] = str(retry_after_s)
    return response


def validation_problem(error: ValidationError, body: Any = None, base: str = "") -> Problem:
    """Convert a validation error to a 422 that gives each broken key's JSON pointer, value and bound.

    Args:
        error: The error.
        body: The validated value; by default the JSON body of the current request.
        base: JSON pointer of `body` in the request.
    """
    sent = getattr(request, "parsed_json", None) if body is None else body
    errors = [_describe(details, sent, base) for details in error.errors(include_url=False)]
    title = "Invalid request"
    return Problem(422, title, "; ".join(e["detail"] for e in errors[:5]), errors=errors)


def _describe(details: ErrorDetails, body: Any, base: str) -> dict[str, str]:
    path = _body_path(details["loc"], body)
    message = details["msg"].removeprefix("Value error, ")
    named_key = _KEY_IN_MESSAGE.match(message)
    if not path and named_key:  # a rule about several keys names the broken one in its message
        return {"pointer": base + json_pointer(named_key[1].split(".")), "detail": message}
    name, kind = ".".join(map(str, path)), details["type"]
    if kind == "missing":
        detail = f"{name} is required"
    elif kind == "extra_forbidden":
        detail = f"{name} = {excerpt(details['input'])}: there is no such key"
    elif name:
        detail = f"{name} = {excerpt(details['input'])}: {message}"
    else:
        detail = message
    return {"pointer": base + json_pointer(path), "detail": detail}


def _body_path(loc: tuple[int | str, ...], body: Any) -> list[int | str]:
    """Return the keys of `loc` without the names of union members, which pydantic inserts between them."""
    path: list[int | str] = []
    node = body
    for i, part in enumerate(loc):
        last = i == len(loc) - 1
        if isinstance(node, dict):
            if part in node:
                node = node[part]
            elif not last or part == node.get("kind") or not str(part).isidentifier():
                continue
        elif isinstance(node, list):
            if not isinstance(part, int):
                continue
            node = node[part] if part < len(node) else None
        elif body is not None and i:
            continue
        path.append(part)
    return path


def json_pointer(path: Iterable[int | str]) -> str:
    """Return the JSON pointer (RFC 6901) of a path of keys and indices."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


def excerpt(value: Any) -> str:
    """Return a value as JSON, shortened to EXCERPT_LENGTH characters."""
    text = json.dumps(value, default=str)
    return text if len(text) <= EXCERPT_LENGTH else text[: EXCERPT_LENGTH - 1] + "…"


def register(app: Flask) -> None:
    """Make `app` answer every error as a problem."""

    @app.errorhandler(Problem)
    def own_problem(error: Problem) -> Response:
        return problem_response(error)

    @app.errorhandler(ValidationError)
    def invalid_request(error: ValidationError) -> Response:
        return problem_response(validation_problem(error))

    @app.errorhandler(HTTPException)
    def http_error(error: HTTPException) -> Response:
        if error.response is not None:
            return error.response  # type: ignore[return-value]
        status = error.code or 500
        answer = problem_response(Problem(status, error.name, _detail(error)))
        for name, value in error.get_headers(request.environ):
            if name.lower() in ("allow", "retry-after", "content-range"):
                answer.headers[name] = value
        return answer

    @app.errorhandler(OperationalError)
    @app.errorhandler(InterfaceError)
    @app.errorhandler(PoolTimeout)
    def table_unavailable(error: Exception) -> Response:
        log.error("the job table does not answer: %s", error)
        return problem_response(Problem(503, "Job table unavailable", "the job table does not answer; try again"))

    @app.errorhandler(OSError)
    def store_unavailable(error: OSError) -> Response:
        log.error("%s: the frame store failed", _request_line(), exc_info=error)
        return problem_response(Problem(503, "Frame store unavailable", "the frame store does not answer; try again"))

    @app.errorhandler(DataError)
    def rejected_by_database(error: DataError) -> Response:
        return problem_response(Problem(422, "Invalid request", "a value does not fit the job table"))

    @app.errorhandler(Exception)
    def unexpected_error(error: Exception) -> Response:
        log.error("%s failed", _request_line(), exc_info=error)
        return problem_response(
            Problem(500, "Internal error", f"{type(error).__name__}; the service's log has the details")
        )


def _request_line() -> str:
    """Return method and path for the log, without the secret part of a shared link."""
    link = (request.view_args or {}).get("link")
    return printable(f"{request.method} {request.path.replace(link, '…') if link else request.path}")


def _detail(error: HTTPException) -> str:
    if error.code == 405:
        allowed = ", ".join(sorted(getattr(error, "valid_methods", None) or ()))
        return f"{request.method} is not allowed on {request.path}; allowed: {allowed}"
    if error.code == 404:
        return f"there is nothing at {request.path}"
    if error.code == 413:
        limit = request.max_content_length
        return f"the body has {request.content_length or 'more'} bytes; the limit here is {limit}"
    return error.description or error.name
