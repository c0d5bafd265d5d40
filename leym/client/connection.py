"""The connection that all parts of the client share."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Self

from leym.client.http import Http
from leym.client.job import Job
from leym.client.requests import job_body, plain
from leym.contract.spec import JobSpec
from leym.settings import clean_token, read_settings


class Connection:
    """A connection to the service. `Client` documents the arguments."""

    def __init__(
        self,
        url: str | None = None,
        *,
        token: str | None = None,
        timeout: float = 30.0,
        headers: Mapping[str, str] | None = None,
    ):
        configured = read_settings()
        shown = configured.token if token is None else clean_token(token)
        bearer = {"Authorization": f"Bearer {shown}"} if shown else {}
        self._http = Http(url or configured.url, timeout_s=timeout, headers=bearer | dict(headers or {}))

    @property
    def url(self) -> str:
        """The address of the service, without a slash at its end."""
        return self._http.url

    def close(self) -> None:
        """Close the connections. The client cannot be used afterwards."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._http.shown}>"

    def _body(
        self, law: str | JobSpec | None, grid: int | tuple[int, int] | None = None, **spec: Any
    ) -> dict[str, Any]:
        """Return a JobSpec as JSON, with the law and the grid of the job it starts from if they are not given.

        A JobSpec must have these two; the service adds the other keys that are inherited.
        """
        initial = plain(spec.get("initial"))
        kind, job = (initial.get("kind"), initial.get("job")) if isinstance(initial, dict) else (None, None)
        missing = not isinstance(law, JobSpec) and (law is None or grid is None)
        if missing and kind in ("state", "continue", None) and isinstance(job, str):
            source = Job.of(self._http, job)
            law, grid = law or source.law, grid or tuple(source.spec["grid"])
        if law is None:
            raise ValueError("law is required, unless the job starts from the state of another job")
        return job_body(law, grid=grid or (64, 64), **spec)

    def _post(self, path: str, body: dict[str, Any], key: str | None, having: Sequence[str]) -> dict[str, Any]:
        headers = {"Idempotency-Key": key or uuid.uuid4().hex}
        return self._http.json("POST", path, having=having, json=body, headers=headers, repeatable=True)
