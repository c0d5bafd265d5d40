"""The connection of the MCP server to the service: requests, and submissions that a budget bounds."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from leym.client.errors import ProblemError, UnexpectedAnswer
from leym.client.http import Http, segment
from leym.mcp.budget import Budget

QUOTED = ("members", "cell_steps", "bytes", "wait_s", "run_s", "finish_at", "device_seconds", "cost", "reason")


class Service:
    """One service, with the budget that all submissions through this object share. Threads can share it.

    Args:
        http: connection, with the token that bounds what it may do.
        budget: what may be submitted; None: no bound beside the quotas of the token's project.
    """

    def __init__(self, http: Http, budget: Budget | None = None):
        self.http, self.budget = http, budget
        self._lock = threading.Lock()
        self._charged: set[str] = set()  # ids: a repeated submission gets the same id and costs nothing again

    def get(self, path: str, having: Sequence[str] = (), **params: Any) -> dict[str, Any]:
        """Return the JSON object at a path; parameters that are None are left out."""
        given = {key: value for key, value in params.items() if value is not None}
        wait = float(given.get("wait", 0))
        return self.http.json("GET", path, having=having, params=given, timeout=self.http.timeout_s + wait)

    def job(self, id: str) -> dict[str, Any]:
        """Return a job as `JobBody`."""
        return self.get(job_path(id), ("id", "state", "step", "steps", "spec", "law"))

    def sweep(self, id: str) -> dict[str, Any]:
        """Return a sweep as `SweepBody`."""
        return self.get(sweep_path(id), ("id", "state", "counts", "spec"))

    def quote(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Return the quote of `{"job": JobSpec}` or `{"sweep": SweepSpec}`, without submitting anything."""
        return self.http.json("POST", "/v1/quotes", having=("cell_steps",), json=dict(request), repeatable=True)

    def submit(
        self, path: str, body: Mapping[str, Any], quoted: Mapping[str, Any], key: str | None = None
    ) -> dict[str, Any]:
        """Quote a submission, refuse it if the budget does not cover it, and submit it.

        Args:
            path: path that takes the submission.
            body: JSON of the submission.
            quoted: request of its quote.
            key: Idempotency-Key; default: a new one.

        Returns:
            The answer of the service, with its `quote`.

        Raises:
            BudgetError: the budget does not cover it.
            LeymError: the service refused the quote or the submission, or did not answer.
        """
        quote = self.quote(quoted)
        price = 0.0 if self.budget is None else self.budget.price(quote)
        if self.budget is not None:
            self.budget.reserve(price)
        headers = {"Idempotency-Key": key or uuid.uuid4().hex}
        try:
            made = self.http.json("POST", path, having=("id",), json=dict(body), headers=headers, repeatable=True)
        except ProblemError as error:
            # after another failure nobody knows whether it was submitted, so it stays charged
            if self.budget is not None and not isinstance(error, UnexpectedAnswer):
                self.budget.give_back(price)
            raise
        if self.budget is not None and not self._is_new(made):
            self.budget.give_back(price)
        return made | {"quote": {name: quote[name] for name in QUOTED if name in quote}}

    def answer(self, found: Mapping[str, Any]) -> dict[str, Any]:
        """Return the answer of a tool: what was found, and the budget where there is one."""
        return dict(found) if self.budget is None else {**found, "budget": self.budget.as_dict()}

    def _is_new(self, made: Mapping[str, Any]) -> bool:
        """Note the id of a submission; return False for one that an earlier job or submission has answered."""
        with self._lock:
            known = made["id"] in self._charged
            self._charged.add(str(made["id"]))
        return not known and made.get("reuse") not in ("returned", "joined")


def job_path(id: str) -> str:
    """Return the path of a job."""
    return f"/v1/jobs/{segment(id)}"


def sweep_path(id: str) -> str:
    """Return the path of a sweep."""
    return f"/v1/sweeps/{segment(id)}"
