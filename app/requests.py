"""Reads request bodies: strict JSON with a limit on its length, and no compressed bodies."""

from __future__ import annotations

import re
from typing import Any

from flask import Flask, Request, Response, request

from app.errors import excerpt, json_pointer, problem_response
from leym.common import strict_json
from leym.contract.problems import Problem
from leym.contract.spec import LIMITS

_NO_TEXT = re.compile("[\0\ud800-\udfff]")  # databases refuse these code points; a lone surrogate is no character


class StrictRequest(Request):
    """A request whose JSON has no NaN, no repeated keys and no lone surrogates.

    Bodies that break these rules raise a problem, where Flask may return None.
    """

    max_content_length = LIMITS.body_bytes
    parsed_json: dict[str, Any] | None = None  # the body, once `get_json` has parsed it

    def get_json(self, force: bool = False, silent: bool = False, cache: bool = True) -> Any:
        """Return the body as a dict.

        The content type must be JSON: a page of another site can send a form without a CORS preflight, but not JSON.

        Raises:
            Problem: 400 if the body is no JSON, 413 if it is too long, 415 if its content type is not JSON.
        """
        if self.mimetype != "application/json" and not self.mimetype.endswith("+json") and not force:
            detail = f"Content-Type = {self.mimetype!r}; it must be application/json"
            raise Problem(415, "Unsupported media type", detail)
        if self.parsed_json is None:
            self.parsed_json = parse_json_object(self.get_data(cache=False))
        return self.parsed_json


def register(app: Flask) -> None:
    """Make `app` refuse compressed bodies, since its limits count the bytes that arrive."""

    @app.before_request
    def refuse_codings() -> Response | None:
        coding = request.headers.get("Content-Encoding", "").strip()
        if request.method not in ("POST", "PUT", "PATCH") or coding.lower() in ("", "identity"):
            return None
        detail = f"Content-Encoding = {coding[:80]!r}; send the body without Content-Encoding"
        response = problem_response(Problem(415, "Unsupported media type", detail))
        response.headers["Accept-Encoding"] = "identity"
        return response


def parse_json_object(data: bytes) -> dict[str, Any]:
    """Parse a JSON object in UTF-8, UTF-16 or UTF-32.

    Raises:
        Problem: 400 if `data` is no JSON or contains U+0000 or a lone surrogate, 422 if it is not an object.
    """
    try:
        found = strict_json.parse(data)
    except ValueError as error:
        raise Problem(400, "Malformed JSON", f"the body is not valid JSON: {str(error)[:200]}") from error
    if not isinstance(found, dict):
        raise Problem(422, "Invalid request", f"the body must be a JSON object, not {type(found).__name__}")
    _check_text(found)
    return found


def _check_text(body: dict[str, Any]) -> None:
    """Raise Problem 400 for the first key or value that contains a lone surrogate or U+0000.

    Python accepts lone surrogates both as escapes and as bytes of any encoding, so only the parsed text reveals them.
    """
    nodes: list[tuple[list[str], Any]] = [([], body)]
    while nodes:
        path, node = nodes.pop()
        if isinstance(node, dict):
            for key, value in node.items():
                if bad := _NO_TEXT.search(key):
                    raise _bad_character(bad[0], [*path, key], f"the key {excerpt(key)}")
                nodes.append(([*path, key], value))
        elif isinstance(node, list):
            nodes.extend(([*path, str(i)], value) for i, value in enumerate(node))
        elif isinstance(node, str) and (bad := _NO_TEXT.search(node)):
            raise _bad_character(bad[0], path, f"{'.'.join(path)} = {excerpt(node)}")


def _bad_character(character: str, path: list[str], subject: str) -> Problem:
    name = f"U+{ord(character):04X}"
    reason = f"the character {name} is not allowed" if character == "\0" else f"{name} is a lone surrogate"
    where = json_pointer(part.encode("utf-8", "backslashreplace").decode() for part in path)
    detail = f"{subject}: {reason}"
    return Problem(400, "Malformed JSON", detail, errors=[{"pointer": where, "detail": detail}])
