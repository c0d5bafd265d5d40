"""Problems of RFC 9457: errors that the library raises and the API returns unchanged."""

from __future__ import annotations

from typing import Any


class Problem(Exception):  # noqa: N818 - the term of RFC 9457
    """A refusal or failure with an HTTP status, a title and a sentence for people.

    Attributes:
        status: HTTP status.
        title: the kind of problem in a few words.
        detail: what is wrong; names the key, the value and the bound.
        kind: URI of the kind of problem.
        errors: per wrong key of a request, its JSON pointer and its own `detail`.
        retry_after_s: seconds after which the same request may succeed; None if it will not.
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
        self.retry_after_s = retry_after_s

    def as_dict(self) -> dict[str, Any]:
        """Return the problem as the JSON object of an answer."""
        body: dict[str, Any] = {"type": self.kind, "title": self.title, "status": self.status, "detail": self.detail}
        if self.errors:
            body["errors"] = self.errors
        return body


def not_found(what: str, key: str) -> Problem:
    """Return a 404 for a missing resource: `what` kind it is, and its `key`."""
    return Problem(404, "Not found", f"there is no {what} {key!r}")


def invalid(detail: str, pointer: str = "") -> Problem:
    """Return a 422 for a value that cannot be used, with the JSON pointer of its key."""
    return Problem(422, "Invalid request", detail, errors=[{"pointer": pointer, "detail": detail}])


def conflict(detail: str) -> Problem:
    """Return a 409 for a request that the current state of a resource does not allow."""
    return Problem(409, "Conflict", detail)
