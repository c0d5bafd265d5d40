"""How request bodies are read: strict JSON, bounded before the first byte is taken."""

from __future__ import annotations

import re
from typing import Any

from flask import Flask, Request, Response, request

from app.errors import pointer, problem, shown
from leym.common import strict_json
from leym.contract.problems import Problem
from leym.contract.spec import LIMITS

_NO_TEXT = re.compile("[\0\ud800-\udfff]")  # no database takes these, and surrogates are no characters


class StrictRequest(Request):
    """JSON without NaN, without repeated keys and without half characters; anything else is a problem, not None."""

    max_content_length = LIMITS.body_bytes
    taken_json: dict[str, Any] | None = None  # the parsed body, once it was asked for

    def get_json(self, force: bool = False, silent: bool = False, cache: bool = True) -> Any:
        """The body as a dict. Raises Problem 400 (no JSON), 413 (too long), 415 (does not say that it is JSON).

        A page of another site can send text of no type or of a form's types without asking first, and no JSON.
        """
        if self.mimetype != "application/json" and not self.mimetype.endswith("+json") and not force:
            detail = f"Content-Type = {self.mimetype!r}; application/json is taken here"
            raise Problem(415, "Unsupported media type", detail)
        if self.taken_json is None:
            self.taken_json = parse(self.get_data(cache=False))
        return self.taken_json


def register(app: Flask) -> None:
    """Refuses bodies that are compressed: bounds count the bytes that are sent."""

    @app.before_request
    def refuse_codings() -> Response | None:
        coding = request.headers.get("Content-Encoding", "").strip()
        if request.method not in ("POST", "PUT") or coding.lower() in ("", "identity"):
            return None
        detail = f"Content-Encoding = {coding[:80]!r}; a body is taken as it is, without Content-Encoding"
        answer = problem(Problem(415, "Unsupported media type", detail))
        answer.headers["Accept-Encoding"] = "identity"
        return answer


def parse(data: bytes) -> dict[str, Any]:
    """Parse a JSON object in UTF-8, UTF-16 or UTF-32.

    Raises:
        Problem: 400 when `data` is no JSON or holds text that is no text, 422 when it is no object.
    """
    try:
        found = strict_json.parse(data)
    except ValueError as error:
        raise Problem(400, "Malformed JSON", f"the body is no JSON: {str(error)[:200]}") from error
    if not isinstance(found, dict):
        raise Problem(422, "Invalid request", f"the body must be a JSON object, not {type(found).__name__}")
    _check_text(found)
    return found


def _check_text(body: dict[str, Any]) -> None:
    """Raise Problem 400 at the first key or value with a lone surrogate or U+0000, and say where it is.

    Python takes lone surrogates both as escapes and as bytes of any encoding, so only the parsed text shows them.
    """
    nodes: list[tuple[list[str], Any]] = [([], body)]
    while nodes:
        path, node = nodes.pop()
        if isinstance(node, dict):
            for key, value in node.items():
                if bad := _NO_TEXT.search(key):
                    raise _no_text(bad[0], [*path, key], f"the key {shown(key)}")
                nodes.append(([*path, key], value))
        elif isinstance(node, list):
            nodes.extend(([*path, str(i)], value) for i, value in enumerate(node))
        elif isinstance(node, str) and (bad := _NO_TEXT.search(node)):
            raise _no_text(bad[0], path, f"{'.'.join(path)} = {shown(node)}")


def _no_text(character: str, path: list[str], what: str) -> Problem:
    name = f"U+{ord(character):04X}"
    why = f"the character {name} is not taken" if character == "\0" else f"a lone surrogate ({name}) is no character"
    where = pointer(part.encode("utf-8", "backslashreplace").decode() for part in path)
    detail = f"{what}: {why}"
    return Problem(400, "Malformed JSON", detail, errors=[{"pointer": where, "detail": detail}])
