"""The tool that runs a job again and compares the results bit by bit."""

from __future__ import annotations

import time
from typing import Annotated, Any

from pydantic import Field

from leym.client.job import FINAL, Job
from leym.client.verify import compare
from leym.mcp.arguments import JobId
from leym.mcp.reading import LONG_POLL_S, WAIT_S
from leym.mcp.service import Service, job_path

KEPT_S = 86400  # the second run is removed a day after its end
NOT_REPEATED = ("webhook", "reuse", "deadline_s")  # keys of one submission; `reuse` would return the first run


class Verifying:
    """Tools of one service; each public method is one."""

    def __init__(self, service: Service):
        self._service = service

    def verify(
        self,
        job: JobId,
        again: Annotated[str | None, Field(description="id of the second run, from an earlier call")] = None,
        wait_s: Annotated[float, Field(ge=0, le=WAIT_S, description="seconds to wait for the second run")] = 30,
    ) -> dict[str, Any]:
        """Run a job that has succeeded again, and compare every bit of the results.

        Where the second run takes longer than `wait_s`, the answer has its id: call again with it as `again`.
        """
        first = self._service.job(job)
        if first["state"] != "succeeded":
            raise ValueError(f"job {job} is {first['state']}; only a job that has succeeded can be verified")
        if not (first["spec"].get("record") or first["spec"].get("observe")):
            raise ValueError(f"job {job} recorded nothing: there is nothing to compare")
        second = self._repeat(first) if again is None else self._service.job(again)
        end = time.monotonic() + wait_s
        while second["state"] not in FINAL and (left := end - time.monotonic()) > 0:
            wait = max(1, int(min(left, LONG_POLL_S)))
            second = self._service.get(job_path(second["id"]), ("state", "step", "spec"), wait=wait)
        shown = {"job": job, "again": second["id"], "state": second["state"]}
        if second["state"] != "succeeded":
            return self._service.answer(shown | {"identical": None, "error": second.get("error")})
        found = compare(Job(self._service.http, first), Job(self._service.http, second))
        arrays = [
            {"name": one.name, "frames": one.frames, "identical": one.identical, "differs_from": one.differs_from}
            for one in found
        ]
        return self._service.answer(shown | {"identical": all(one.identical for one in found), "arrays": arrays})

    def _repeat(self, first: dict[str, Any]) -> dict[str, Any]:
        """Submit the job again, with exactly its law and its precision."""
        spec = {key: value for key, value in first["spec"].items() if value is not None and key not in NOT_REPEATED}
        spec |= {"law": first["law"], "precision": first["precision"]}
        spec |= {"tags": {"verifies": first["id"]}, "ttl_s": KEPT_S}
        return self._service.submit("/v1/jobs", spec, {"job": spec})
