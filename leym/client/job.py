"""A job of the service: its state, waiting for it, its live frames and its results."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any, Literal, Self

import numpy as np

from leym.client.errors import JobCancelled, JobFailed
from leym.client.http import Http, segment
from leym.client.job_results import Results
from leym.client.keeping import Kept
from leym.client.live import Frame, frames_of
from leym.client.pages import listed
from leym.client.progress import Bars
from leym.client.requests import change_body
from leym.contract.interventions import Disc, Rectangle

FINAL = frozenset({"succeeded", "failed", "cancelled"})
JOB_KEYS = ("id", "state", "step", "steps", "spec", "law")
LONG_POLL_S = 20  # less than the 30 s after which proxies end silent requests
PROGRESS_POLL_S = 1


class Job(Results, Kept):
    """One universe that the service runs, as returned by `Client.submit`, `Client.job` and `Client.jobs`.

    Properties show the last answer of the service; `refresh()` and `wait()` request a new one.
    """

    @classmethod
    def of(cls, http: Http, id: str) -> Self:
        """Request a job by its id."""
        return cls(http, http.json("GET", f"/v1/jobs/{segment(id)}", having=JOB_KEYS))

    @property
    def step(self) -> int:
        """The last step whose frames are stored and can be read."""
        return int(self._data.get("step") or 0)

    @property
    def steps(self) -> int:
        """The number of steps that the job runs."""
        return int(self._data["steps"])

    @property
    def done(self) -> bool:
        """True if the job has ended, in whatever way."""
        return self.state in FINAL

    @property
    def spec(self) -> dict[str, Any]:
        """The JobSpec as the service took it, with all defaults."""
        return dict(self._data["spec"])

    @property
    def law(self) -> str:
        """The version of the law that runs, or that a training has made, as `name@digest`."""
        return str(self._data["law"])

    @property
    def error(self) -> dict[str, Any] | None:
        """The problem that the job failed with, a dict with title and detail; None if it did not fail."""
        return self._data.get("error")

    @property
    def url(self) -> str:
        """The address of the job in the REST API."""
        return self._http.url + self._path

    def as_dict(self) -> dict[str, Any]:
        """Return the last answer of the service, unchanged."""
        return dict(self._data)

    def wait(self, timeout: float | None = None, progress: bool = False) -> Job:
        """Wait until the job has succeeded, and return it.

        Args:
            timeout: seconds to wait at most; default: no limit.
            progress: show a bar on a terminal, and a line now and then elsewhere, both on stderr.

        Raises:
            JobFailed: the job failed.
            JobCancelled: the job was cancelled.
            TimeoutError: the job has not ended after `timeout` seconds; it goes on.
        """
        with Bars(enabled=progress) as bars:
            wait_all([self], timeout, bars)
        return self.check()

    def check(self) -> Job:
        """Return the job, but raise JobFailed or JobCancelled if it ended that way."""
        if self.state == "failed":
            raise JobFailed(self)
        if self.state == "cancelled":
            raise JobCancelled(self)
        return self

    def cancel(self) -> Job:
        """Stop the job and return it. Its recorded frames stay; a job that has ended does not change."""
        self._data = self._http.json("POST", f"{self._path}/cancel", having=JOB_KEYS, repeatable=True)
        return self

    def intervene(
        self,
        kind: Literal["vortex", "wave", "noise", "collapse", "set", "paint", "gamma"],
        *,
        step: int | None = None,
        y: float | None = None,
        x: float | None = None,
        radius: float | None = None,
        charge: int | None = None,
        ky: float | None = None,
        kx: float | None = None,
        strength: float | None = None,
        to: str | None = None,
        vector: Sequence[complex] | Sequence[Sequence[float]] | np.ndarray | None = None,
        state: str | None = None,
        channel: int | None = None,
        phase: float | None = None,
        value: float | None = None,
        region: Mapping[str, Any] | Rectangle | Disc | None = None,
        idempotency_key: str | None = None,
    ) -> dict[str, Any]:
        """Change the state or gamma while the job waits or runs: `intervene("vortex", y=32, x=32, radius=8)`.

        Afterwards `spec` says at which step it acted, so that the same spec gives the same bits.

        Args:
            kind: vortex (y, x, radius, charge), wave (ky, kx, region), noise (strength, region), collapse (to, region),
                set (vector or state, region), paint (y, x, radius, and vector, or channel and phase) or gamma (value).
            step: step at which it acts; default: as soon as possible.
            y: row of a vortex or a stroke.
            x: column of a vortex or a stroke.
            radius: radius of a vortex or a stroke, in cells.
            charge: turns of a vortex.
            ky: waves over the grid's height.
            kx: waves over the grid's width.
            strength: standard deviation of noise.
            to: what a collapse leaves: "dominant" or "drawn".
            vector: d complex numbers, or pairs [re, im].
            state: id of an uploaded state.
            channel: channel that is painted.
            phase: phase that is painted, in radians.
            value: the new gamma.
            region: cells that change: `{"kind": "disc", "y": 32, "x": 32, "radius": 8}` or a Rectangle; default: all.
            idempotency_key: calls with the same key ask once; default: a new key.

        Returns:
            The request: number, state (`waiting`, `applied`, `missed`) and step; `interventions()` has its later state.

        Raises:
            ProblemError: the job has ended or is a member of a sweep, or the change does not fit it.
        """
        change = {
            "y": y, "x": x, "radius": radius, "charge": charge, "ky": ky, "kx": kx, "strength": strength, "to": to,
            "vector": vector, "state": state, "channel": channel, "phase": phase, "value": value, "region": region,
        }  # fmt: skip
        return self._intervene(change_body(kind, step, change), idempotency_key)

    def _intervene(self, body: dict[str, Any], idempotency_key: str | None = None) -> dict[str, Any]:
        headers = {"Idempotency-Key": idempotency_key or uuid.uuid4().hex}
        path, having = f"{self._path}/interventions", ("number", "state")
        return self._http.json("POST", path, having=having, json=body, headers=headers, repeatable=True)

    def interventions(self) -> list[dict[str, Any]]:
        """List the live interventions of the job: number, state, step and what was asked for."""
        return list(self._http.json("GET", f"{self._path}/interventions", having=("items",))["items"])

    def delete(self) -> None:
        """Remove the results of the job.

        Raises:
            ProblemError: the job has not ended.
        """
        self._http.remove(self._path)

    def stream(self, start: int | Literal["latest"] = 0, field: str | None = None) -> Iterator[Frame]:
        """Yield the frames as they are stored, until the job has ended; then refresh the job.

        After a lost connection the stream resumes where it was. A job that fails or is cancelled ends the stream
        without an exception; `check()` raises it.

        Args:
            start: first step; "latest" for new frames only.
            field: only steps at which this field was recorded.

        Raises:
            ServiceUnreachable: the service does not answer any more, after all retries.
        """
        if start == "latest":
            start = self.refresh().step + 1
        yield from frames_of(self._http, self._path, start, field, self.array)
        self.refresh()

    def __repr__(self) -> str:
        return f"<Job {self.id} {self.state} {self.step}/{self.steps} {self.law.split('@')[0]}>"

    def _repr_html_(self) -> str:
        share = 100 * self.step / self.steps
        bar = f'<progress max="100" value="{share:.0f}"></progress>'
        return f"<code>{escape(self.id)}</code> {bar} {self.step}/{self.steps} {escape(self.state)}"


def list_jobs(http: Http, filters: dict[str, str], limit: int | None = None) -> Iterator[Job]:
    """Yield jobs, newest first, `limit` at most; a page is requested when the iteration reaches it."""
    return (Job(http, data) for data in listed(http, "/v1/jobs", filters, limit))


def wait_all(jobs: list[Job], timeout: float | None, bars: Bars) -> None:
    """Wait until all jobs have ended, in whatever way. Raises TimeoutError after `timeout` seconds."""
    end = None if timeout is None else time.monotonic() + timeout
    for job in jobs:
        bars.show(job)
        while not job.done:
            left = LONG_POLL_S if end is None else end - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"job {job.id} is {job.state} at step {job.step} of {job.steps} after {timeout} s")
            poll = PROGRESS_POLL_S if bars.enabled else LONG_POLL_S
            job.refresh(wait_s=max(1, min(poll, int(left))))
            for other in jobs if bars.enabled else ():
                if other is not job and not other.done:
                    other.refresh()
                bars.show(other)
