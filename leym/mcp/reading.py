"""Tools that read: states of jobs and sweeps, pictures, numbers, tables, laws."""

from __future__ import annotations

import json
import time
from typing import Annotated, Any, Literal

from mcp.server.mcpserver import Image
from pydantic import Field

from leym.client.http import segment
from leym.client.job import FINAL
from leym.client.results import RENDER_S
from leym.common.backoff import Backoff
from leym.mcp.arguments import JobId, SweepId
from leym.mcp.pictures import PIXELS, fitted
from leym.mcp.service import Service, job_path, sweep_path
from leym.mcp.submitting import one_of

WAIT_S = 50  # most clients give up a call after 60 s
LONG_POLL_S = 20
POLL = Backoff(0.2, longest_s=2.0, factor=1.5)
ROWS = 500  # of one answer
LISTED = ("id", "state", "step", "steps", "law", "precision", "parent", "sweep", "tags", "created_at")
LAW_KEYS = ("name", "ref", "architecture", "d_state", "grid_multiple", "constraint", "memory", "start", "description")
Rows = Annotated[int, Field(ge=1, le=ROWS, description="rows of the answer at most")]


class Reading:
    """Tools of one service; each public method is one."""

    def __init__(self, service: Service):
        self._service = service

    def laws(
        self, name: Annotated[str | None, Field(description="one law, with its verdicts; default: all")] = None
    ) -> dict[str, Any]:
        """List the laws, or describe one with its fidelity verdicts: which precisions behave like fp32."""
        if name is None:
            items = self._service.get("/v1/laws", ("items",))["items"]
            return self._service.answer({"items": [{key: law.get(key) for key in LAW_KEYS} for law in items]})
        path = f"/v1/laws/{segment(name)}"
        law = self._service.get(path, ("name",))
        verdicts = self._service.get(f"{path}/fidelity", ("items",))["items"]
        shown = [{key: one.get(key) for key in ("precision", "verdict", "reasons", "regime")} for one in verdicts]
        return self._service.answer(law | {"verdicts": shown})

    def jobs(
        self,
        state: Literal["queued", "running", "paused", "succeeded", "failed", "cancelled"] | None = None,
        law: Annotated[str | None, Field(description="name or name@digest")] = None,
        tag: Annotated[str | None, Field(description="key=value")] = None,
        limit: Rows = 20,
    ) -> dict[str, Any]:
        """List jobs, newest first. Members of sweeps are in the tool `table`."""
        found = self._service.get("/v1/jobs", ("items",), state=state, law=law, tag=tag, limit=min(limit, 100))
        items = [{key: job.get(key) for key in LISTED} for job in found["items"]]
        return self._service.answer({"items": items, "more": found.get("next") is not None})

    def status(
        self,
        job: JobId | None = None,
        sweep: SweepId | None = None,
        wait_s: Annotated[
            float, Field(ge=0, le=WAIT_S, description="wait so many seconds for the end; 0: answer at once")
        ] = 0,
    ) -> dict[str, Any]:
        """Return the state of a job or a sweep, and wait for its end if asked to: call again until it has ended.

        States: queued, running, paused, succeeded, failed (`error` says why), cancelled. `reason` says what a job that
        has not ended waits for.
        """
        one_of(job, sweep)
        end = time.monotonic() + wait_s
        found = self._service.job(job) if job is not None else self._service.sweep(sweep or "")
        polls = 0
        while found["state"] not in FINAL and (left := end - time.monotonic()) > 0:
            if job is not None:
                found = self._service.get(job_path(job), ("state",), wait=max(1, int(min(left, LONG_POLL_S))))
            else:
                time.sleep(min(left, POLL.delay_s(polls)))
                polls += 1
                found = self._service.sweep(sweep or "")
        return self._service.answer({key: value for key, value in found.items() if key not in ("links", "epoch")})

    def picture(
        self,
        job: JobId,
        field: Annotated[str, Field(description="a recorded field, such as phase")],
        step: Annotated[int | None, Field(ge=0, description="a recorded step; default: the last one")] = None,
        channel: Annotated[int | None, Field(ge=0, description="channel of a field that has channels")] = None,
    ) -> tuple[dict[str, Any], Image]:
        """Look at a field of a universe at one step: a small PNG, also while the job runs.

        Colours: phase is cyclic, the other fields go from dark (low) to light (high).
        """
        fields = self._service.get(f"{job_path(job)}/frames", ("items",))["items"]
        described = next((one for one in fields if one["name"] == field), None)
        if described is None:
            recorded = ", ".join(one["name"] for one in fields) or "nothing"
            raise ValueError(f"job {job} does not record {field!r}; it records {recorded}")
        steps = described["steps"]
        if not described["committed"]:
            raise ValueError(f"job {job} has no frame of {field!r} yet; `status` says how far it is")
        if step is not None and step not in range(steps["start"], steps["stop"], steps["stride"]):
            raise ValueError(
                f"{field!r} has no frame at step {step}: they are at every {steps['stride']}. step from"
                f" {steps['start']} to {steps['stop'] - 1}"
            )
        at = step if step is not None else steps["start"] + (described["committed"] - 1) * steps["stride"]
        height, width = described["shape"][1:3]
        params: dict[str, Any] = {"format": "png", "start": at, "stop": at + 1}
        params |= {"scale": min(max(1, PIXELS // max(height, width)), 64)}
        params |= {} if channel is None else {"channel": channel}
        path = f"{job_path(job)}/frames/{segment(field)}"
        response = self._service.http.request("GET", path, params=params, timeout=RENDER_S)
        shown = {"job": job, "field": field, "step": at, "grid": [height, width], "units": described["units"]}
        return self._service.answer(shown), Image(data=fitted(response.content), format="png")

    def observables(
        self,
        job: JobId,
        names: Annotated[list[str] | None, Field(description="observables; default: all that were observed")] = None,
        start: Annotated[int | None, Field(ge=0, description="first step")] = None,
        stop: Annotated[int | None, Field(ge=0, description="step to stop before")] = None,
        lineage: Annotated[bool, Field(description="true: with the steps of the jobs that this one continues")] = False,
        rows: Rows = 100,
    ) -> dict[str, Any]:
        """Read the observables of a job over its steps: columns of equal length, thinned evenly to at most `rows`."""
        params = {"names": None if names is None else ",".join(names), "start": start, "stop": stop}
        found = self._service.get(
            f"{job_path(job)}/observables", ("step",), lineage="true" if lineage else None, **params
        )
        count = len(found["step"])
        every = -(-count // rows) or 1
        thin = {name: values[::every] for name, values in found.items()}
        return self._service.answer({"columns": thin, "observed": count, "every_nth": every})

    def table(
        self,
        sweep: SweepId,
        filter: Annotated[
            list[str], Field(description='conditions, all must hold: "gamma>=0.01", "state=succeeded", "activity>0.1"')
        ] = [],  # noqa: B006 - never changed
        sort: Annotated[str | None, Field(description="column; missing values come last")] = None,
        descending: bool = False,
        aggregate: Annotated[
            list[str],
            Field(description="mean, sd, min, max, median, count, quantiles as q05: one row per point of other axes"),
        ] = [],  # noqa: B006 - never changed
        over: Annotated[list[str] | None, Field(description="axes to aggregate over; default: seed")] = None,
        value: Annotated[list[str], Field(description="observables to aggregate; default: all")] = [],  # noqa: B006
        rows: Rows = 50,
    ) -> dict[str, Any]:
        """Read the table of a sweep: one row per member with its id, state, axes and last observables.

        Aggregate to see a sweep of any size in a few rows, or sort and filter to find members; `more` is true where
        rows are left out.
        """
        params = {
            "format": "jsonl",
            "filter": filter,
            "sort": sort,
            "descending": "true" if descending else None,
            "aggregate": ",".join(aggregate) or None,
            "over": None if over is None else ",".join(over),
            "value": ",".join(value) or None,
        }
        given = {key: item for key, item in params.items() if item not in (None, [])}
        found: list[dict[str, Any]] = []
        path = f"{sweep_path(sweep)}/table"
        with self._service.http.stream(path, read_timeout_s=RENDER_S, params=given) as response:
            for line in response.iter_lines():
                if len(found) == rows:
                    return self._service.answer({"rows": found, "more": True})
                found.append(json.loads(line))
        return self._service.answer({"rows": found, "more": False})

    def states(self, job: JobId, limit: Rows = 100) -> dict[str, Any]:
        """List the steps of a job from which `fork` can go on."""
        found = self._service.get(f"{job_path(job)}/states", ("items",), limit=limit)
        return self._service.answer({"items": found["items"], "more": found.get("next") is not None})

    def lineage(self, job: JobId) -> dict[str, Any]:
        """Show the jobs that a job continues and those that continue it, and in what each differs from its parent."""
        keys = ("id", "parent", "relation", "state", "from_step", "to_step", "steps", "differs", "readable")
        items = self._service.get(f"{job_path(job)}/lineage", ("items",))["items"]
        return self._service.answer({"items": [{key: one[key] for key in keys} for one in items]})

    def queue(self) -> dict[str, Any]:
        """Return the backlog of the service, and its workers: how many jobs wait, and what computes."""
        queue = self._service.get("/v1/queue", ("jobs",))
        kept = ("jobs", "cell_steps", "oldest_queued_s", "states")
        keys = ("name", "device", "kind", "state", "slots", "busy", "cell_steps_per_s")
        workers = self._service.get("/v1/workers", ("items",))["items"]
        shown = [{key: worker.get(key) for key in keys} for worker in workers]
        return self._service.answer({key: queue.get(key) for key in kept} | {"workers": shown})
