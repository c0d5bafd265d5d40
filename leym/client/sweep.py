"""A sweep of the service: one law, many members, one table and one labelled array."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leym.client import plots, results, tables
from leym.client.axes import more_members
from leym.client.http import Http, segment
from leym.client.job import FINAL, JOB_KEYS, Job, list_jobs
from leym.client.keeping import Kept
from leym.client.pages import listed
from leym.client.progress import Amount, Bars
from leym.common.backoff import Backoff
from leym.contract.sweep_table import axis_name

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes

SWEEP_KEYS = ("id", "size", "counts")
GROWN_KEYS = (*SWEEP_KEYS, "members")
POLL = Backoff(0.2, longest_s=2.0, factor=1.5)  # delays between two requests


class Sweep(Kept):
    """Members that differ in a few keys, as returned by `Client.sweep` and `Client.get_sweep`.

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
        """The number of members."""
        return int(self._data["size"])

    @property
    def counts(self) -> dict[str, int]:
        """The number of members in each state."""
        return dict(self._data["counts"])

    @property
    def done(self) -> bool:
        """True if every member has ended, in whatever way."""
        return self.step >= self.size

    @property
    def state(self) -> str:
        """`running` or `paused` until every member has ended, then the worst state of a member.

        The worst is `failed`, then `cancelled`, then `succeeded`.
        """
        if not self.done:
            return "paused" if self._data.get("paused_at") else "running"
        return next((state for state in ("failed", "cancelled") if self.counts.get(state)), "succeeded")

    @property
    def step(self) -> int:
        """The number of members that have ended."""
        return sum(self.counts.get(state, 0) for state in FINAL)

    @property
    def steps(self) -> int:
        """The number of members, the end of `step`."""
        return self.size

    @property
    def progress(self) -> dict[str, int]:
        """The work in all and the work that is done: `members` and `cell_steps`, each also with `_done`."""
        work = self._data.get("progress")
        cell_steps = {"cell_steps": work["cell_steps"], "cell_steps_done": work["done"]} if work else {}
        return {"members": self.size, "members_done": self.step} | cell_steps

    @property
    def axes(self) -> list[str]:
        """The keys of the axes, in their order."""
        return list(self._data["spec"]["axes"])

    def as_dict(self) -> dict[str, Any]:
        """Return the last answer of the service, unchanged."""
        return dict(self._data)

    def refresh(self) -> Sweep:
        """Request the state of the sweep again, and return the sweep."""
        self._data = self._http.json("GET", self._path, having=SWEEP_KEYS)
        return self

    def wait(self, timeout: float | None = None, progress: bool = False) -> Sweep:
        """Wait until every member has ended, in whatever way; `state` and `counts` show the outcome.

        Args:
            timeout: seconds to wait at most; default: no limit.
            progress: show bars of members and of cell-steps on a terminal, and lines now and then elsewhere, both on
                stderr.

        Returns:
            The sweep.

        Raises:
            TimeoutError: members are left after `timeout` seconds; they go on.
        """
        end = None if timeout is None else time.monotonic() + timeout
        polls = 0
        with Bars(enabled=progress) as bars:
            self._show(bars)
            while not self.done:
                pause = POLL.delay_s(polls)
                if end is not None and time.monotonic() + pause > end:
                    raise TimeoutError(f"sweep {self.id}: {self.step} of {self.size} jobs have ended after {timeout} s")
                time.sleep(pause)
                polls += 1
                self.refresh()
                self._show(bars)
        return self

    def _show(self, bars: Bars) -> None:
        bars.show(self, f"sweep {self.id}")
        amounts = self.progress
        if "cell_steps" in amounts:
            bars.show(Amount("cell-steps", self.state, amounts["cell_steps_done"], amounts["cell_steps"]))

    def jobs(self) -> Iterator[Job]:
        """Yield the members as jobs, newest first; a page is requested when the iteration reaches it."""
        return list_jobs(self._http, {"sweep": self.id})

    def member(self, index: int) -> Job:
        """Return one member as a job.

        Args:
            index: position in the sweep, the last axis fastest; negative numbers count from the end.

        Raises:
            IndexError: there is no such member.
        """
        if not -self.size <= index < self.size:
            raise IndexError(f"sweep {self.id} has {self.size} members: no member {index}")
        return Job(self._http, self._http.json("GET", f"{self._path}/members/{index % self.size}", having=JOB_KEYS))

    @property
    def dataset(self) -> xarray.Dataset:
        """The results of all members as one xarray.Dataset, read from the service when they are used.

        Dimensions are the axes, `step`, `y` and `x`; a sweep with zipped or drawn axes, or to which members were added,
        has one dimension `member`. What is not computed yet is NaN. Chunks are those of dask where it is installed.

        Raises:
            ValueError: the service is older, or the members differ in shape: then `datasets` has them.
            ModuleNotFoundError: xarray or zarr is not installed.
        """
        groups = self._groups()
        if groups:
            raise ValueError(f"the members of sweep {self.id} differ in shape: use .datasets[…] of {', '.join(groups)}")
        return self._open(None)

    @property
    def datasets(self) -> dict[str, xarray.Dataset]:
        """One Dataset as in `dataset` for each shape of members, by the name of its group in the store."""
        return {group: self._open(group) for group in self._groups()} or {"": self._open(None)}

    def _groups(self) -> list[str]:
        if "store" not in self._data.get("links", {}):
            raise ValueError(f"sweep {self.id}: this service is older and has no labelled arrays; read its .jobs()")
        root = self._http.json("GET", f"{self._path}/store.zarr/zarr.json", having=("attributes",))
        shapes = json.loads(root["attributes"].get("shapes", "[]"))  # structures in attributes are JSON text
        return [str(shape["group"]) for shape in shapes]

    def _open(self, group: str | None) -> xarray.Dataset:
        import xarray

        store = results.open_store(self._http, f"{self._path}/store.zarr")
        chunks: Any = {} if results.installed("dask") else None
        opened: xarray.Dataset = xarray.open_zarr(store, group=group, consolidated=True, zarr_format=3, chunks=chunks)
        return opened

    def table(self, frame: tables.Frame | None = None, **query: Any) -> Any:
        """Return one row per member: `index`, `id`, `state`, `step`, …, its axes and its last observables.

        Args:
            frame: "pandas" or "polars" for a DataFrame, "rows" for a list of dicts; default: the first of these that is
                installed.
            **query: filter (conditions such as `"gamma>=0.01"` or `"state=succeeded"`), sort (a column), descending,
                aggregate (`"mean"`, `"sd"`, `"min"`, `"max"`, `"median"`, `"count"`, quantiles as `"q05"`; one row per
                point of the other axes), over (axes to aggregate over; default: `seed`), value (observables to
                aggregate; default: all).

        Returns:
            The table. Values of axes with a structure are JSON text.

        Raises:
            ProblemError: the query names a column that does not exist, or cannot be understood.
            ValueError: `frame` is unknown.
        """
        return tables.read(self._http, f"{self._path}/table", frame, tables.query_params(**query))

    def save_table(self, path: str | Path, format: str | None = None, **query: Any) -> int:
        """Save the table to a file, and return the number of bytes.

        Args:
            path: the file; `-` is stdout.
            format: csv, jsonl, parquet or arrow (the stream form of Arrow IPC); default: the ending of `path`.
            **query: as for `table`.

        Raises:
            ValueError: the format is unknown.
        """
        return tables.save(self._http, f"{self._path}/table", Path(path), format, tables.query_params(**query))

    def phase_diagram(
        self, x: str, y: str, value: str, *, statistic: str = "mean", ax: Axes | None = None, filter: tables.Names = ()
    ) -> Axes:
        """Draw an observable over two axes of the sweep.

        Args:
            x: key of the horizontal axis.
            y: key of the vertical axis.
            value: observable that gives the colour.
            statistic: how members at one point are aggregated, as in `table`.
            ax: where to draw; default: a new figure.
            filter: conditions on the members, as in `table`.

        Returns:
            The matplotlib Axes; `.figure.savefig("f.png")` saves the picture.

        Raises:
            ValueError: `x` or `y` is no axis of the sweep, or no member has a result.
            ModuleNotFoundError: matplotlib is not installed.
        """
        for key in (x, y):
            if key not in self.axes:
                raise ValueError(f"{key!r} is no axis of sweep {self.id}; its axes are {', '.join(self.axes)}")
        over = [axis_name(key) for key in self.axes if key not in (x, y)]
        rows = self.table("rows", aggregate=statistic, over=over, value=value, filter=filter)
        scattered = self._data["spec"].get("mode", "product") != "product" or bool(self._data.get("added"))
        return plots.phase_diagram(rows, axis_name(x), axis_name(y), f"{value}.{statistic}", ax, scattered)

    def summary(self) -> dict[str, Any]:
        """Return counts, progress and a histogram per observable, without reading every member."""
        return self._http.json("GET", f"{self._path}/summary", having=("counts",))

    def add(
        self,
        axes: Mapping[str, Any] | None = None,
        mode: str | Mapping[str, Any] = "product",
        *,
        idempotency_key: str | None = None,
        **values: Any,
    ) -> range:
        """Add members, also while the sweep runs or after it has ended: `sweep.add(gamma=[0.3], seed=range(5))`.

        They have the law, the steps and all other keys of the sweep's base, and its stop rules. The indices of the
        other members stay. In `dataset`, all members are then along one dimension `member`.

        Args:
            axes: values by key, as for `Client.sweep`; each axis of the sweep needs some, here or in `values`.
            mode: as for `Client.sweep`.
            idempotency_key: calls with the same key add once; default: a new key.
            **values: sequences of values, as for `Client.sweep`.

        Returns:
            The indices of the new members, for `member`.

        Raises:
            ProblemError: the axes are not those of the sweep, or it can have no more members.
            ValueError: one of `values` is no sequence.
        """
        body, headers = more_members(axes or {}, mode, values), {"Idempotency-Key": idempotency_key or uuid.uuid4().hex}
        self._data = self._http.json(
            "POST", f"{self._path}/members", having=GROWN_KEYS, json=body, headers=headers, repeatable=True
        )
        members = self._data.pop("members")
        return range(members["first"], members["first"] + members["size"])

    def estimate_add(
        self, axes: Mapping[str, Any] | None = None, mode: str | Mapping[str, Any] = "product", **values: Any
    ) -> dict[str, Any]:
        """Return what an `add` with these arguments needs, and add nothing: size, blocks, cell_steps, bytes."""
        body, path = more_members(axes or {}, mode, values), f"{self._path}/members"
        return self._http.json("POST", path, having=("cell_steps",), params={"dry_run": "true"}, json=body)

    def delete(self) -> None:
        """Remove the results of the sweep, which must have ended.

        Raises:
            ProblemError: members have not ended, or live jobs start from them.
        """
        self._http.remove(self._path)

    def cancel(self) -> Sweep:
        """Cancel every member that has not ended, and return the sweep."""
        return self._change("POST", "/cancel")

    def pause(self) -> Sweep:
        """Stop the members where they are until `resume`, and return the sweep."""
        return self._change("POST", "/pause")

    def resume(self) -> Sweep:
        """Go on after `pause`, and return the sweep."""
        return self._change("POST", "/resume")

    def retry(self) -> Sweep:
        """Run the failed members again from their beginning, and return the sweep."""
        return self._change("POST", "/retry")

    def set_priority(self, priority: int) -> Sweep:
        """Change the priority of the members that have not ended, and return the sweep.

        Args:
            priority: 0 to 9; 9 is the most urgent.
        """
        return self._change("PATCH", "", json={"priority": priority})

    def _change(self, method: str, action: str, **options: Any) -> Sweep:
        self._data = self._http.json(method, self._path + action, having=SWEEP_KEYS, repeatable=True, **options)
        return self

    def __repr__(self) -> str:
        counts = ", ".join(f"{n} {state}" for state, n in self.counts.items() if n)
        return f"<Sweep {self.id} {self.size} jobs: {counts}>"


def list_sweeps(http: Http, limit: int | None = None) -> Iterator[Sweep]:
    """Yield sweeps, newest first, `limit` at most; a page is requested when the iteration reaches it."""
    return (Sweep(http, data) for data in listed(http, "/v1/sweeps", {}, limit))
