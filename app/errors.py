"""Every error as `application/problem+json` (RFC 9457): ours, validation, HTTP errors, and what nobody foresaw."""

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

RETRY_AFTER_S = 2  # the table or the store is away: about the time a restart takes
SHOWN = 80  # characters of a refused value that are repeated to the caller
_KEY_IN_MESSAGE = re.compile(r"^([a-z_0-9]+(?:\.[a-z_0-9]+)*) = ")  # "record.0.every = 20 is over steps = 10"


def problem(error: Problem, **more: Any) -> Response:
    """The answer for a problem, with further members. 503 says when to come again."""
    body = error.as_dict() | {"instance": request.script_root + request.path} | more
    response = Response(json.dumps(body), error.status, content_type="application/problem+json")
    response.headers["Cache-Control"] = "no-store"
    if error.status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    retry_after_s = RETRY_AFTER_S if error.status == 503 and error.retry_after_s is None else error.retry_after_s
    if retry_after_s is not None:
        response.headers["Retry-After"] = str(retry_after_s)
    return response


def problem_of_validation(error: ValidationError, body: Any = None, base: str = "") -> Problem:
    """A 422 with, per broken key, the JSON pointer of it and a sentence that names key, value and bound.

    `body` is what was validated (the request's JSON by default), `base` the pointer of it in the request.
    """
    sent = getattr(request, "taken_json", None) if body is None else body
    errors = [_described(details, sent, base) for details in error.errors(include_url=False)]
    title = "Invalid request"
    return Problem(422, title, "; ".join(e["detail"] for e in errors[:5]), errors=errors)


def _described(details: ErrorDetails, body: Any, base: str) -> dict[str, str]:
    path = _path(details["loc"], body)
    message = details["msg"].removeprefix("Value error, ")
    stated = _KEY_IN_MESSAGE.match(message)
    if not path and stated:  # a rule about several keys names the one it is about
        return {"pointer": base + pointer(stated[1].split(".")), "detail": message}
    name, kind = ".".join(map(str, path)), details["type"]
    if kind == "missing":
        detail = f"{name} is required"
    elif kind == "extra_forbidden":
        detail = f"{name} = {shown(details['input'])}: there is no such key"
    elif name:
        detail = f"{name} = {shown(details['input'])}: {message}"
    else:
        detail = message
    return {"pointer": base + pointer(path), "detail": detail}


def _path(loc: tuple[int | str, ...], body: Any) -> list[int | str]:
    """`loc` without the names of union members, which pydantic puts between the keys of the body."""
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


def pointer(path: Iterable[int | str]) -> str:
    """The JSON pointer (RFC 6901) of a path of keys and indices."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


def shown(value: Any) -> str:
    """A value as JSON, cut to a length that is good to read."""
    text = json.dumps(value, default=str)
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"


def register(app: Flask) -> None:
    @app.errorhandler(Problem)
    def ours(error: Problem) -> Response:
        return problem(error)

    @app.errorhandler(ValidationError)
    def invalid(error: ValidationError) -> Response:
        return problem(problem_of_validation(error))

    @app.errorhandler(HTTPException)
    def http(error: HTTPException) -> Response:
        if error.response is not None:
            return error.response  # type: ignore[return-value]
        status = error.code or 500
        answer = problem(Problem(status, error.name, _detail(error)))
        for name, value in error.get_headers(request.environ):
            if name.lower() in ("allow", "retry-after", "content-range"):
                answer.headers[name] = value
        return answer

    @app.errorhandler(OperationalError)
    @app.errorhandler(InterfaceError)
    @app.errorhandler(PoolTimeout)
    def table_away(error: Exception) -> Response:
        log.error("the job table does not answer: %s", error)
        return problem(Problem(503, "Job table unavailable", "the job table does not answer; try again"))

    @app.errorhandler(OSError)
    def store_away(error: OSError) -> Response:
        log.error("%s: the frame store failed", _asked(), exc_info=error)
        return problem(Problem(503, "Frame store unavailable", "the frame store does not answer; try again"))

    @app.errorhandler(DataError)
    def unfit(error: DataError) -> Response:
        return problem(Problem(422, "Invalid request", "a value does not fit the job table"))

    @app.errorhandler(Exception)
    def unforeseen(error: Exception) -> Response:
        log.error("%s failed", _asked(), exc_info=error)
        return problem(Problem(500, "Internal error", f"{type(error).__name__}; the log of the service has more"))


def _asked() -> str:
    """For the log: a link opens results to whoever reads it, so it is left out."""
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
        return f"the body has {request.content_length or 'more'} bytes; at most {limit} are taken here"
    return error.description or error.name
