"""Results of a sweep: the part of a Sweep that reads labelled arrays and tables, and draws phase diagrams."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leym.client import plots, results, tables
from leym.client.http import Http, segment
from leym.client.job import JOB_KEYS, Job
from leym.client.typical import typical
from leym.client.views import FRAMES, View, view
from leym.contract.sweep_table import axis_name

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes


class SweepResults:
    """The part of a Sweep that reads its results."""

    def __init__(self, http: Http, data: dict[str, Any]):
        self._http, self._data = http, data
        self._path = f"/v1/sweeps/{segment(str(data['id']))}"

    @property
    def id(self) -> str:
        """The id: 26 characters."""
        return str(self._data["id"])

    @property
    def axes(self) -> list[str]:
        """The keys of the axes, in their order."""
        return list(self._data["spec"]["axes"])

    def dataset(self) -> xarray.Dataset:
        """Open the results of all members as one xarray.Dataset, whose values are read from the service when used.

        Dimensions are the axes, `step`, `y` and `x`; a sweep with zipped or drawn axes, or to which members were added,
        has one dimension `member`. What is not computed yet is NaN. Chunks are those of dask where it is installed.

        Raises:
            ValueError: the service is older, or the members differ in shape: then `datasets()` has them.
            ModuleNotFoundError: xarray or zarr is not installed.
        """
        groups = self._groups()
        if groups:
            raise ValueError(
                f"the members of sweep {self.id} differ in shape: use .datasets()[…] of {', '.join(groups)}"
            )
        return self._open(None)

    def datasets(self) -> dict[str, xarray.Dataset]:
        """Open one Dataset as in `dataset` for each shape of members, by the name of its group in the store."""
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
        from leym.client.notebook.accessor import with_hints

        opened: xarray.Dataset = xarray.open_zarr(store, group=group, consolidated=True, zarr_format=3, chunks=chunks)
        return with_hints(opened)

    def table(
        self,
        frame: tables.Frame | None = None,
        *,
        filter: tables.Names = (),
        sort: str | None = None,
        descending: bool = False,
        aggregate: tables.Names = (),
        over: tables.Names | None = None,
        value: tables.Names = (),
        window: tuple[int, int] | None = None,
    ) -> Any:
        """Return one row per member: `index`, `id`, `state`, `step`, …, its axes and its last observables.

        Args:
            frame: "pandas" or "polars" for a DataFrame, "rows" for a list of dicts; default: the first of these that is
                installed.
            filter: conditions such as `"gamma>=0.01"` or `"state=succeeded"`.
            sort: a column.
            descending: largest first.
            aggregate: `"mean"`, `"sd"`, `"min"`, `"max"`, `"median"`, `"count"`, quantiles as `"q05"`: one row per
                point of the other axes.
            over: axes to aggregate over; default: `seed`.
            value: observables to aggregate; default: all.
            window: first and last step: observables are means over the observed steps between them instead of the last
                values.

        Returns:
            The table. Values of axes with a structure are JSON text.

        Raises:
            ProblemError: the query names a column that does not exist, or cannot be understood.
            ValueError: `frame` is unknown.
        """
        query = tables.query_params(
            filter=filter, sort=sort, descending=descending, aggregate=aggregate, over=over, value=value, window=window
        )
        return tables.read(self._http, f"{self._path}/table", frame, query)

    def save_table(
        self,
        path: str | Path,
        format: str | None = None,
        *,
        filter: tables.Names = (),
        sort: str | None = None,
        descending: bool = False,
        aggregate: tables.Names = (),
        over: tables.Names | None = None,
        value: tables.Names = (),
        window: tuple[int, int] | None = None,
    ) -> int:
        """Save the table to a file, and return the number of bytes.

        Args:
            path: the file; `-` is stdout.
            format: csv, jsonl, parquet or arrow (the stream form of Arrow IPC); default: the ending of `path`.
            filter: as for `table`.
            sort: as for `table`.
            descending: as for `table`.
            aggregate: as for `table`.
            over: as for `table`.
            value: as for `table`.
            window: as for `table`.

        Raises:
            ValueError: the format is unknown.
        """
        query = tables.query_params(
            filter=filter, sort=sort, descending=descending, aggregate=aggregate, over=over, value=value, window=window
        )
        return tables.save(self._http, f"{self._path}/table", Path(path), format, query)

    def phase_diagram(
        self,
        x: str,
        y: str,
        value: str,
        *,
        statistic: str = "mean",
        window: tuple[int, int] | None = None,
        filter: tables.Names = (),
        ax: Axes | None = None,
    ) -> Axes:
        """Draw an observable over two axes of the sweep.

        Args:
            x: key of the horizontal axis.
            y: key of the vertical axis.
            value: observable that gives the colour.
            statistic: how members at one point are aggregated, as in `table`.
            window: first and last step of a mean over time, as in `table`.
            filter: conditions on the members, as in `table`.
            ax: where to draw; default: a new figure.

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
        rows = self.table("rows", aggregate=statistic, over=over, value=value, filter=filter, window=window)
        scattered = self._data["spec"].get("mode", "product") != "product" or bool(self._data.get("added"))
        return plots.phase_diagram(rows, axis_name(x), axis_name(y), f"{value}.{statistic}", ax, scattered)

    def typical(self, count: int = 6, *, value: tables.Names = (), filter: tables.Names = ()) -> list[Job]:
        """Choose members that stand for the sweep: one of each of `count` groups whose observables are alike.

        Args:
            count: number of groups.
            value: observables to compare; default: all.
            filter: conditions on the members, as in `table`.

        Returns:
            The members, those of large groups first.

        Raises:
            ValueError: no member has observables yet.
        """
        conditions = [filter] if isinstance(filter, str) else list(filter)
        rows = self.table("rows", filter=["state=succeeded", *conditions])
        names = [value] if isinstance(value, str) else list(value)
        own = {"index", "id", "state", "step", "steps", "stopped_at", "error", *map(axis_name, self.axes)}
        names = names or [name for name in (rows[0] if rows else ()) if name not in own]
        return [Job.of(self._http, str(rows[i]["id"])) for i in typical(rows, names, count)]

    def best(
        self,
        value: str,
        *,
        lowest: bool = False,
        window: tuple[int, int] | None = None,
        filter: tables.Names = (),
    ) -> Job:
        """Return the member with the largest last value of an observable.

        Args:
            value: the observable.
            lowest: return the one with the smallest value.
            window: first and last step of a mean over time, as in `table`.
            filter: conditions on the members, as in `table`.

        Raises:
            ValueError: no member has succeeded yet.
        """
        conditions = ["state=succeeded", *([filter] if isinstance(filter, str) else filter)]
        rows = self.table("rows", filter=conditions, sort=value, descending=not lowest, window=window)
        if not rows:
            raise ValueError(f"no member of sweep {self.id} has succeeded yet")
        return Job.of(self._http, str(rows[0]["id"]))

    def show(
        self,
        field: str | None = None,
        *,
        count: int = 6,
        members: Sequence[int] | None = None,
        start: int | None = None,
        stop: int | None = None,
        frames: int = FRAMES,
        channel: int | None = None,
        fps: int = 12,
    ) -> View:
        """Show members side by side on one clock, with their points as titles; by default, typical ones.

        `show().save("six.html")` (or gif, webp, png) writes it to a file.

        Args:
            field: a recorded field; default: `phase`, or else another one.
            count: number of typical members.
            members: indices of the members to show instead.
            start: first step; default: the first one.
            stop: step to stop before; default: after the last one.
            frames: most frames of each member; of more, every n-th is read.
            channel: channel to draw, of a field with channels.
            fps: frames per second.

        Raises:
            ValueError: no member has observables yet, or the members have recorded no field.
            ModuleNotFoundError: a package is not installed (`pip install 'leym[data]'`).
        """
        path = f"{self._path}/members"
        if members is None:
            jobs = self.typical(count)
        else:
            jobs = [Job(self._http, self._http.json("GET", f"{path}/{i}", having=JOB_KEYS)) for i in members]
        titles = [_title(job, self.axes) for job in jobs]
        return view(jobs, field, start=start, stop=stop, frames=frames, channel=channel, titles=titles, fps=fps)

    def summary(self) -> dict[str, Any]:
        """Return counts, progress and a histogram per observable, without reading every member."""
        return self._http.json("GET", f"{self._path}/summary", having=("counts",))


def _title(job: Job, axes: Sequence[str]) -> str:
    """Return the point of a member as text: `gamma = 0.05, seed = 3`."""
    shown = []
    for axis in axes:
        value: Any = job.spec
        for key in axis.split("."):
            value = value.get(key) if isinstance(value, dict) else None
        shown.append(f"{axis} = {value:.4g}" if isinstance(value, float) else f"{axis} = {value}")
    return ", ".join(shown)
