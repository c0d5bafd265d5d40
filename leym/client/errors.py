"""What can go wrong for a caller of the SDK, one class per thing a caller may want to catch."""

from __future__ import annotations

from typing import Any, Protocol


class LeymError(Exception):
    """Everything the SDK raises on its own account."""


class ServiceUnreachable(LeymError):
    """No answer from the service after all retries: it is down, the URL is wrong, or the network is."""

    def __init__(self, url: str, reason: str):
        super().__init__(f"no answer from {url}: {reason} (is the service up? LEYM_URL names it, `leym up` starts one)")
        self.url, self.reason = url, reason


class ProblemError(LeymError):
    """An RFC 9457 problem that the service answered. `errors` holds a pointer and a sentence per broken key."""

    def __init__(self, status: int, title: str, detail: str = "", errors: list[dict[str, Any]] | None = None):
        super().__init__(f"{status} {title}: {detail}" if detail else f"{status} {title}")
        self.status, self.title, self.detail, self.errors = status, title, detail, errors or []

    @classmethod
    def of(cls, status: int, body: dict[str, Any]) -> ProblemError:
        """From the JSON of an answer."""
        return cls(status, str(body.get("title", "Refused")), str(body.get("detail") or ""), body.get("errors"))

    def as_dict(self) -> dict[str, Any]:
        return {"status": self.status, "title": self.title, "detail": self.detail, "errors": self.errors}


class UnexpectedAnswer(ProblemError):
    """Something answered that is not the service: a proxy, another program, a page. The message says what it said.

    status, url, kind: the HTTP status, the address that was asked, and the media type of the answer.
    """

    def __init__(self, url: str, status: int, why: str, kind: str = "", text: str = ""):
        self.url, self.kind = url, kind
        begins = printable(text[:300])[:100]
        said = f"; it begins with {begins!r}" if begins else ""
        what = f"{url} answered {status} {printable(why)} ({printable(kind) or 'no content type'}){said}"
        super().__init__(status, "Unexpected answer", f"{what}. Is this the address of the service (LEYM_URL)?")


def printable(text: str) -> str:
    """Text of strangers for a terminal: one line, without control characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


class EndedJob(Protocol):
    """A job that did not succeed, as the exceptions below carry it: a `leym.client.Job`."""

    @property
    def id(self) -> str: ...
    @property
    def step(self) -> int: ...
    @property
    def steps(self) -> int: ...
    @property
    def error(self) -> dict[str, Any] | None: ...


class JobFailed(LeymError):
    """A job ended in state `failed`; `problem` says why (a dict with title and detail)."""

    def __init__(self, job: EndedJob):
        self.job, self.problem = job, job.error or {}
        reason = self.problem.get("detail") or self.problem.get("title") or "no reason was given"
        super().__init__(f"job {job.id} failed at step {job.step} of {job.steps}: {reason}")


class JobCancelled(LeymError):
    """A job ended in state `cancelled`; what it recorded until then can be read."""

    def __init__(self, job: EndedJob):
        self.job, self.problem = job, job.error or {}
        super().__init__(f"job {job.id} was cancelled at step {job.step} of {job.steps}")
