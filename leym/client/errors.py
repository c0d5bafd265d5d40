"""Exceptions of the SDK: one class for each case that a caller may want to catch."""

from __future__ import annotations

from typing import Any, Protocol


class LeymError(Exception):
    """Base class of the exceptions of the SDK."""


class ServiceUnreachable(LeymError):  # noqa: N818 -- public name
    """The service did not answer, after all retries: it is down, or the URL or the network is wrong."""

    def __init__(self, url: str, reason: str):
        super().__init__(f"no answer from {url}: {reason} (is the service up? LEYM_URL names it, `leym up` starts one)")
        self.url, self.reason = url, reason


class ProblemError(LeymError):
    """The service refused a request, with a problem of RFC 9457.

    Attributes:
        status: the HTTP status.
        title: the kind of problem.
        detail: what is wrong with this request.
        errors: a JSON pointer and a sentence for each key that is wrong.
    """

    def __init__(self, status: int, title: str, detail: str = "", errors: list[dict[str, Any]] | None = None):
        super().__init__(f"{status} {title}: {detail}" if detail else f"{status} {title}")
        self.status, self.title, self.detail, self.errors = status, title, detail, errors or []

    @classmethod
    def of(cls, status: int, body: dict[str, Any]) -> ProblemError:
        """Make the exception from the JSON body of an answer."""
        return cls(status, str(body.get("title", "Refused")), str(body.get("detail") or ""), body.get("errors"))

    def as_dict(self) -> dict[str, Any]:
        """Return status, title, detail and errors."""
        return {"status": self.status, "title": self.title, "detail": self.detail, "errors": self.errors}


class UnexpectedAnswer(ProblemError):  # noqa: N818 -- public name
    """Something other than the service answered: a proxy, another program, a web page. The message quotes it.

    Attributes:
        url: the address of the request.
        status: the HTTP status of the answer.
        kind: the media type of the answer.
    """

    def __init__(self, url: str, status: int, why: str, kind: str = "", text: str = ""):
        self.url, self.kind = url, kind
        start = one_line(text[:300])[:100]
        quote = f"; it begins with {start!r}" if start else ""
        answer = f"{url} answered {status} {one_line(why)} ({one_line(kind) or 'no content type'}){quote}"
        super().__init__(status, "Unexpected answer", f"{answer}. Is this the address of the service (LEYM_URL)?")


def one_line(text: str) -> str:
    """Put text of unknown origin on one line, without control characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


class EndedJob(Protocol):
    """The part of `leym.client.Job` that the exceptions below use."""

    @property
    def id(self) -> str:
        """The id of the job."""

    @property
    def step(self) -> int:
        """The last step whose frames are stored."""

    @property
    def steps(self) -> int:
        """The steps that the job was to run."""

    @property
    def error(self) -> dict[str, Any] | None:
        """The problem that the job failed with."""


class JobFailed(LeymError):  # noqa: N818 -- public name
    """A job ended in state `failed`.

    Attributes:
        job: the `leym.client.Job`.
        problem: the reason, a dict with title and detail.
    """

    def __init__(self, job: EndedJob):
        self.job, self.problem = job, job.error or {}
        reason = self.problem.get("detail") or self.problem.get("title") or "no reason was given"
        super().__init__(f"job {job.id} failed at step {job.step} of {job.steps}: {reason}")


class JobCancelled(LeymError):  # noqa: N818 -- public name
    """A job ended in state `cancelled`; the frames that it had recorded can be read.

    Attributes:
        job: the `leym.client.Job`.
        problem: empty; for code that handles this exception and JobFailed alike.
    """

    def __init__(self, job: EndedJob):
        self.job, self.problem = job, job.error or {}
        super().__init__(f"job {job.id} was cancelled at step {job.step} of {job.steps}")
