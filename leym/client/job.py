"""A job of the service: its state, waiting for it, its live frames and its results."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from leym.client import frame_socket, results
from leym.client.errors import JobCancelled, JobFailed
from leym.client.http import Http
from leym.client.keeping import Kept
from leym.client.lineage import TimeTravel
from leym.client.live import Frame, frames_of
from leym.client.pages import listed
from leym.client.progress import Bars
from leym.client.requests import change_body

if TYPE_CHECKING:
    import xarray

FINAL = frozenset({"succeeded", "failed", "cancelled"})
JOB_KEYS = ("id", "state", "step", "steps", "spec", "law")
LONG_POLL_S = 20  # less than the 30 s after which proxies end silent requests
PROGRESS_POLL_S = 1


class Job(TimeTravel, Kept):
    """One universe that the service runs, as returned by `Client.submit`, `Client.job` and `Client.jobs`.

    Properties show the last answer of the service; `refresh()` and `wait()` request a new one.
    """

    @property
    def id(self) -> str:
        """The id: 26 characters."""
        return str(self._data["id"])

    @property
    def state(self) -> str:
        """`queued`, `running`, `paused`, `succeeded`, `failed` or `cancelled`."""
        return str(self._data["state"])

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

    def refresh(self, wait_s: int = 0) -> Job:
        """Request the state of the job again, and return the job.

        Args:
            wait_s: the service answers when the state changes, or after this many seconds; 0: at once.
        """
        params = {"wait": wait_s} if wait_s else None
        self._data = self._http.json(
            "GET", self._path, having=JOB_KEYS, params=params, timeout=self._http.timeout_s + wait_s
        )
        return self

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

    def intervene(self, kind: str, *, step: int | None = None, **change: Any) -> dict[str, Any]:
        """Change the state or gamma while the job waits or runs: `intervene("vortex", y=32, x=32, radius=8)`.

        Afterwards `spec` says at which step it acted, so that the same spec gives the same bits.

        Args:
            kind: vortex (y, x, radius, charge), wave (ky, kx, region), noise (strength, region), collapse (to, region),
                set (vector or state, region), paint (y, x, radius, and vector, or channel and phase) or gamma (value).
            step: step at which it acts; default: as soon as possible.
            **change: keys of the kind. A vector is an array of d complex numbers, or pairs [re, im].

        Returns:
            The request: number, state (`waiting`, `applied`, `missed`) and step; `interventions()` has its later state.

        Raises:
            ProblemError: the job has ended or is a member of a sweep, or the change does not fit it.
        """
        body = change_body(kind, step, change)
        return self._http.json("POST", f"{self._path}/interventions", having=("number", "state"), json=body)

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

    def live(
        self,
        field: str,
        *,
        start: int = 0,
        fps: float | None = None,
        downsample: int = 1,
        dtype: frame_socket.Dtype = "f32",
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (step, frame) of a field as the frames are stored, until the job has ended; then refresh the job.

        The frames come over a WebSocket, which resumes where it was after a lost connection. A job that fails or is
        cancelled ends the iteration without an exception; `check()` raises it.

        Args:
            field: a recorded field.
            start: first step.
            fps: most frames per second: the newest ones, and always the first and the last; default: every frame.
            downsample: every n-th cell in both directions.
            dtype: f32, f16, or u8 for codes 0 to 255 over the range of the field. A complex field is always complex64.

        Raises:
            ProblemError: the field is not recorded, an option is wrong, or the results were deleted.
            ServiceUnreachable: the service does not answer any more, after all retries.
        """
        yield from frame_socket.frames(
            self._http, self._path, field, start=start, fps=fps, downsample=downsample, dtype=dtype
        )
        self.refresh()

    @property
    def fields(self) -> list[dict[str, Any]]:
        """The recorded fields: name, shape, dtype, units, every and number of stored frames (`committed`) of each."""
        return results.fields(self._http, self._path)

    def array(
        self, field: str, start: int | None = None, stop: int | None = None, stride: int = 1
    ) -> tuple[np.ndarray, np.ndarray]:
        """Read the frames of a field.

        Args:
            field: a recorded field.
            start: first step; default: 0.
            stop: step to stop before; default: after the last stored frame.
            stride: read every n-th frame.

        Returns:
            The steps, int64 [n], and the frames, [n, H, W] or [n, H, W, d].

        Raises:
            ProblemError: the field is not recorded, or the range is wrong.
        """
        return results.array(self._http, self._path, field, start, stop, stride)

    @property
    def frames(self) -> xarray.Dataset | results.LazyArrays:
        """The recorded fields, read from the service when they are used: `job.frames["phase"]`.

        It is an xarray.Dataset with coordinates and units where xarray and zarr are installed, else a mapping of
        arrays. `to_netcdf` accepts the Dataset, psi included; attributes with a structure (`spec`) are JSON text.
        """
        return results.dataset(self._http, self._path, self._field_names)

    @property
    def observables(self) -> xarray.Dataset | dict[str, np.ndarray]:
        """The observables over `step`: an xarray.Dataset, or a dict of arrays where xarray is not installed."""
        return results.observables(self._http, self._path)

    def series(self) -> dict[str, np.ndarray]:
        """Read the observables as plain arrays: `step`, int64 [n], and one float64 [n] per name."""
        return results.series(self._http, self._path)

    def curve(self) -> dict[str, np.ndarray]:
        """Read the curve of a training so far: `update` and one float64 [n] per name; `pandas.DataFrame` takes it.

        Raises:
            ProblemError: the job is no training.
        """
        return results.curve(self._http, self._path)

    def download(self, field: str, path: str | Path, format: str | None = None, **options: Any) -> Path:
        """Save a field or the observables to a file.

        A png shows all chosen frames on one sheet; gif and webp are animations of them. Pictures and npz files contain
        the job, the law with its digest, the spec and the steps as JSON. A regular file is replaced when the download
        is complete; a FIFO or a device is written in place, and a symbolic link is followed.

        Args:
            field: a recorded field, or "observables".
            path: the file; `-` is stdout.
            format: npy, npz, png, gif or webp for a field; json, csv or npz for observables; default: the ending of
                `path`.
            **options: start and stop (steps), stride (every n-th frame), channel, fps (at most 50 for gif), scale
                (pixels per cell).

        Returns:
            The path.

        Raises:
            ValueError: the format is unknown.
            ProblemError: the field is not recorded, or an option is wrong.
            OSError: the file cannot be written.
        """
        self._save(field, Path(path), format, **options)
        return Path(path)

    def _save(self, field: str, path: Path, format: str | None, **options: Any) -> int:
        """Save like `download`, but return the number of bytes written."""
        return results.download(self._http, self._path, field, path, format, options)

    @property
    def segments(self) -> list[dict[str, Any]]:
        """The batch size, kernel, operands and device that computed the frames, from which step on.

        Equal values give equal bits. Results from before version 0.1.0 store the batch size as `rung`.
        """
        group = self._http.json("GET", f"{self._path}/store.zarr/zarr.json", having=("attributes",))
        segments = json.loads(group["attributes"].get("segments", "[]"))
        return [{"batch_size" if key == "rung" else key: value for key, value in s.items()} for s in segments]

    def _field_names(self) -> list[str]:
        return [recording["field"] for recording in self.spec.get("record", [])]

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
