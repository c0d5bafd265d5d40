"""A sweep of the service: one base job, many points, one table."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from leym.client.http import Http, segment
from leym.client.job import FINAL, Job, list_jobs
from leym.client.progress import Bars
from leym.common.tables import flat_row

SWEEP_KEYS = ("id", "size", "counts")
POLL_S = (0.2, 2.0)  # first and longest delay between two requests


class Sweep:
    """Jobs that differ in a few keys, as returned by `Client.sweep` and `Client.get_sweep`.

    Properties show the last answer of the service; `refresh()` and `wait()` request a new one.
    """

    def __init__(self, http: Http, data: dict[str, Any]):
        self._http, self._data = http, data
        self._path = f"/v1/sweeps/{segment(str(data['id']))}"

    @property
    def id(self) -> str:
        """The id: 26 characters."""
        return str(self._data["id"])

    @property
    def size(self) -> int:
        """The number of jobs."""
        return int(self._data["size"])

    @property
    def counts(self) -> dict[str, int]:
        """The number of jobs in each state."""
        return dict(self._data["counts"])

    @property
    def done(self) -> bool:
        """True if every job has ended, in whatever way."""
        return sum(self.counts.get(state, 0) for state in FINAL) >= self.size

    @property
    def state(self) -> str:
        """`running` until every job has ended, then the worst state of a job: `failed`, `cancelled` or `succeeded`."""
        if not self.done:
            return "running"
        return next((state for state in ("failed", "cancelled") if self.counts.get(state)), "succeeded")

    @property
    def step(self) -> int:
        """The number of jobs that have ended, because the progress of a sweep counts jobs."""
        return sum(self.counts.get(state, 0) for state in FINAL)

    @property
    def steps(self) -> int:
        """The number of jobs, the end of `step`."""
        return self.size

    def as_dict(self) -> dict[str, Any]:
        """Return the last answer of the service, unchanged."""
        return dict(self._data)

    def refresh(self) -> Sweep:
        """Request the state of the sweep again, and return the sweep."""
        self._data = self._http.json("GET", self._path, having=SWEEP_KEYS)
        return self

    def wait(self, timeout: float | None = None, progress: bool = False) -> Sweep:
        """Wait until every job has ended, in whatever way, and return the sweep; `state` and `counts` show the outcome.

        Args:
            timeout: seconds to wait at most; default: no limit.
            progress: show a bar on a terminal, and a line now and then elsewhere, both on stderr.

        Raises:
            TimeoutError: jobs are left after `timeout` seconds; they go on.
        """
        end = None if timeout is None else time.monotonic() + timeout
        pause, longest = POLL_S
        with Bars(enabled=progress) as bars:
            bars.show(self, f"sweep {self.id}")
            while not self.done:
                if end is not None and time.monotonic() + pause > end:
                    raise TimeoutError(f"sweep {self.id}: {self.step} of {self.size} jobs have ended after {timeout} s")
                time.sleep(pause)
                pause = min(pause * 1.5, longest)
                bars.show(self.refresh(), f"sweep {self.id}")
        return self

    def jobs(self) -> Iterator[Job]:
        """Yield the jobs of the sweep, newest first; a page is requested when the iteration reaches it."""
        return list_jobs(self._http, {"sweep": self.id})

    def table(self) -> list[dict[str, Any]]:
        """Return one row per job with its state, its point and its last observables, in the columns of the CSV.

        `pandas.DataFrame(sweep.table())` has columns of numbers and text; values with a structure are JSON text.
        """
        return [flat_row(row) for row in self._http.json("GET", f"{self._path}/table", having=("items",))["items"]]

    def cancel(self) -> Sweep:
        """Cancel every job that has not ended, and return the sweep."""
        self._data = self._http.json("POST", f"{self._path}/cancel", having=SWEEP_KEYS, repeatable=True)
        return self

    def __repr__(self) -> str:
        counts = ", ".join(f"{n} {state}" for state, n in self.counts.items() if n)
        return f"<Sweep {self.id} {self.size} jobs: {counts}>"
