"""A job as its owner sees it: state, waiting, live frames, results."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urljoin

import numpy as np

from leym.client import results
from leym.client.errors import JobCancelled, JobFailed
from leym.client.http import Http, segment
from leym.client.live import Frame, frames_of
from leym.client.progress import Bars

if TYPE_CHECKING:
    import xarray

FINAL = frozenset({"succeeded", "failed", "cancelled"})
JOB_KEYS = ("id", "state", "step", "steps", "spec", "law")
PAGE = 100
LONG_POLL_S = 20  # below the 30 s after which proxies cut silent requests
PROGRESS_POLL_S = 1


class Job:
    """One universe that the service runs. Made by `Client.submit`, `Client.job` and `Client.jobs`.

    Attributes show the last answer of the service; `refresh()` and `wait()` bring a new one.
    """

    def __init__(self, http: Http, data: dict[str, Any]):
        self._http, self._data = http, data
        self._path = f"/v1/jobs/{segment(str(data['id']))}"

    @property
    def id(self) -> str:
        return str(self._data["id"])

    @property
    def state(self) -> str:
        """`queued`, `running`, `paused`, `succeeded`, `failed` or `cancelled`."""
        return str(self._data["state"])

    @property
    def step(self) -> int:
        """Steps done whose frames are stored and can be read."""
        return int(self._data.get("step") or 0)

    @property
    def steps(self) -> int:
        return int(self._data["steps"])

    @property
    def done(self) -> bool:
        return self.state in FINAL

    @property
    def spec(self) -> dict[str, Any]:
        return dict(self._data["spec"])

    @property
    def law(self) -> str:
        """`name@digest`: exactly the weights that run."""
        return str(self._data["law"])

    @property
    def error(self) -> dict[str, Any] | None:
        """Why the job failed (a problem with title and detail), or None."""
        return self._data.get("error")

    @property
    def url(self) -> str:
        return self._http.url + self._path

    def as_dict(self) -> dict[str, Any]:
        """The service's last answer, unchanged."""
        return dict(self._data)

    def refresh(self, wait_s: int = 0) -> Job:
        """Ask again; with `wait_s`, the service answers as soon as the state changes or after that many seconds."""
        params = {"wait": wait_s} if wait_s else None
        self._data = self._http.json(
            "GET", self._path, having=JOB_KEYS, params=params, timeout=self._http.timeout_s + wait_s
        )
        return self

    def wait(self, timeout: float | None = None, progress: bool = False) -> Job:
        """Return when it has succeeded. Raises JobFailed, JobCancelled, or TimeoutError after `timeout` seconds."""
        with Bars(enabled=progress) as bars:
            wait_all([self], timeout, bars)
        return self.check()

    def check(self) -> Job:
        """Raises JobFailed or JobCancelled if the job ended that way."""
        if self.state == "failed":
            raise JobFailed(self)
        if self.state == "cancelled":
            raise JobCancelled(self)
        return self

    def cancel(self) -> Job:
        """Stop it; what is recorded stays. A job that has ended is left as it is."""
        self._data = self._http.json("POST", f"{self._path}/cancel", having=JOB_KEYS, repeatable=True)
        return self

    def share(self, ttl_s: int = 86400) -> dict[str, str]:
        """URLs that need no token, until they expire: `store` for xarray.open_zarr, `frames` before /FIELD?format=…"""
        made = self._http.json(
            "POST", f"{self._path}/links", having=("store", "frames"), json={"ttl_s": ttl_s}, repeatable=True
        )
        return made | {key: urljoin(self._http.url, made[key]) for key in ("store", "frames")}

    def delete(self) -> None:
        """Remove its results. Only a job that has ended can be deleted."""
        self._http.remove(self._path)

    def stream(self, start: int | Literal["latest"] = 0, field: str | None = None) -> Iterator[Frame]:
        """Frames as they are committed, from step `start` (or only new ones), until the job has ended.

        With `field`, only steps at which it was recorded. A lost connection resumes where it was. Afterwards
        `state` is fresh; a failed or cancelled job just ends the stream (`check()` raises).
        """
        if start == "latest":
            start = self.refresh().step + 1
        yield from frames_of(self._http, self._path, start, field, self.array)
        self.refresh()

    @property
    def fields(self) -> list[dict[str, Any]]:
        """What was recorded so far: name, shape, dtype, units, every, committed steps."""
        return results.fields(self._http, self._path)

    def array(
        self, field: str, start: int | None = None, stop: int | None = None, stride: int = 1
    ) -> tuple[np.ndarray, np.ndarray]:
        """`(steps int64 [n], frames [n, H, W(, d)])` of the frames from step `start` up to and without step `stop`."""
        return results.array(self._http, self._path, field, start, stop, stride)

    @property
    def frames(self) -> xarray.Dataset | results.Arrays:
        """The recorded fields, read from the service only where they are used: `job.frames["phase"]`.

        Returns:
            An xarray.Dataset with coordinates and units where xarray and zarr are installed, else a mapping of arrays.
            `to_netcdf` takes it as it is, psi included; attributes with a structure (`spec`) are JSON text.
        """
        return results.dataset(self._http, self._path, self._field_names)

    @property
    def observables(self) -> xarray.Dataset | dict[str, np.ndarray]:
        """Numbers per observed step over `step`: an xarray.Dataset, or a dict of arrays without xarray."""
        return results.observables(self._http, self._path)

    def series(self) -> dict[str, np.ndarray]:
        """The observables as plain arrays: `step` int64 [n] and one float64 [n] per name."""
        return results.series(self._http, self._path)

    def download(self, field: str, path: str | Path, format: str | None = None, **options: Any) -> Path:
        """Save a field as npy, npz, png, gif or webp, or `observables` as json, csv or npz; returns the path.

        The format is the file's ending unless given. Options: start, stop, stride (steps), channel, fps (at most 50 for
        gif), scale. A png shows all chosen frames on one sheet; gif and webp hold each of them. Pictures and npz files
        carry the job, the law with its digest, the spec and the steps as JSON.
        `-` is stdout. A plain file appears whole; a FIFO or a device is written as it is, and a link stays one.
        """
        self._save(field, Path(path), format, **options)
        return Path(path)

    def _save(self, field: str, path: Path, format: str | None, **options: Any) -> int:
        """`download`; returns how many bytes were written."""
        return results.download(self._http, self._path, field, path, format, options)

    @property
    def segments(self) -> list[dict[str, Any]]:
        """How the frames are computed, from which step on: batch size, kernel, operands, device.

        Equal values give equal bits. Results from before version 0.1.0 say `rung` for `batch_size`.
        """
        group = self._http.json("GET", f"{self._path}/store.zarr/zarr.json", having=("attributes",))
        return list(json.loads(group["attributes"].get("segments", "[]")))

    def _field_names(self) -> list[str]:
        return [recording["field"] for recording in self.spec.get("record", [])]

    def __repr__(self) -> str:
        return f"<Job {self.id} {self.state} {self.step}/{self.steps} {self.law.split('@')[0]}>"

    def _repr_html_(self) -> str:
        share = 100 * self.step / self.steps
        bar = f'<progress max="100" value="{share:.0f}"></progress>'
        return f"<code>{escape(self.id)}</code> {bar} {self.step}/{self.steps} {escape(self.state)}"


def list_jobs(http: Http, filters: dict[str, str], limit: int | None = None) -> Iterator[Job]:
    """Yield jobs, newest first, and fetch each page when it is reached; all of them without a `limit`."""
    params: dict[str, Any] = dict(filters)
    left = limit if limit is not None else 2**63
    while left > 0:
        page = http.json("GET", "/v1/jobs", having=("items",), params=params | {"limit": min(left, PAGE)})
        for data in page["items"][:left]:
            yield Job(http, data)
        left -= len(page["items"])
        if not page.get("next"):
            return
        params["cursor"] = page["next"]


def wait_all(jobs: list[Job], timeout: float | None, bars: Bars) -> None:
    """Until all have ended, in whatever way. Raises TimeoutError after `timeout` seconds."""
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
