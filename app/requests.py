"""How request bodies are read: strict JSON, bounded before the first byte is taken."""

from __future__ import annotations

import json
from typing import Any

from flask import Flask, Request, Response, request

from app.errors import problem
from leym.problems import Problem
from leym.spec import LIMITS


class StrictRequest(Request):
    """JSON without NaN, without repeated keys and without half characters; anything else is a problem, not None."""

    max_content_length = LIMITS.body_bytes

    def get_json(self, force: bool = False, silent: bool = False, cache: bool = True) -> Any:
        """The body as a dict. Raises Problem 400 (no JSON), 413 (too long), 415 (does not say that it is JSON).

        A page of another site can send text of no type or of a form's types without asking first, and no JSON.
        """
        if self.mimetype != "application/json" and not self.mimetype.endswith("+json") and not force:
            detail = f"Content-Type = {self.mimetype!r}; application/json is taken here"
            raise Problem(415, "Unsupported media type", detail)
        found = getattr(self, "_strict_json", None)
        if found is None:
            found = parse(self.get_data(cache=False))
            self._strict_json = found
        return found


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
    """Raises Problem 400 when `data` is no JSON, 422 when it is no object."""
    try:
        found = json.loads(data, parse_constant=_no_constant, object_pairs_hook=_no_repeats)
        if b"\\u" in data:  # JSON can spell characters that no UTF-8 text has
            json.dumps(found, ensure_ascii=False).encode()
            if b"\\u0000" in data:
                raise ValueError("the character U+0000 is not taken")
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise Problem(400, "Malformed JSON", f"the body is no JSON: {reason[:200]}") from error
    if not isinstance(found, dict):
        raise Problem(422, "Invalid request", f"the body must be a JSON object, not {type(found).__name__}")
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"key {next(k for k in keys if keys.count(k) > 1)!r} stands twice")
    return found
