"""Errors that people read: RFC 9457 problems, raised anywhere in the library and answered by the API as they are."""

from __future__ import annotations

from typing import Any


class Problem(Exception):
    """A refusal or failure with a title, an HTTP status and, per broken key, a JSON pointer and a sentence.

    `detail` and each `errors[i]["detail"]` name the key, the value and the bound.
    """

    def __init__(
        self,
        status: int,
        title: str,
        detail: str,
        *,
        kind: str = "about:blank",
        errors: list[dict[str, Any]] | None = None,
        retry_after_s: int | None = None,
    ):
        super().__init__(detail)
        self.status, self.title, self.detail, self.kind, self.errors = status, title, detail, kind, errors or []
        self.retry_after_s = retry_after_s  # when asking again may help

    def as_dict(self) -> dict[str, Any]:
        body: dict[str, Any] = {"type": self.kind, "title": self.title, "status": self.status, "detail": self.detail}
        if self.errors:
            body["errors"] = self.errors
        return body


def not_found(what: str, key: str) -> Problem:
    return Problem(404, "Not found", f"there is no {what} {key!r}")


def invalid(detail: str, pointer: str = "") -> Problem:
    return Problem(422, "Invalid request", detail, errors=[{"pointer": pointer, "detail": detail}])


def conflict(detail: str) -> Problem:
    return Problem(409, "Conflict", detail)
