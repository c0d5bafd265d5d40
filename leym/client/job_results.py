"""Results of a job: the part of a Job that reads fields, observables and facts about the run, and saves them."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from leym.client import frame_socket, results
from leym.client.differences import differences
from leym.client.lineage import TimeTravel
from leym.client.views import FRAMES, View, common_field, view

if TYPE_CHECKING:
    import xarray


class Results(TimeTravel):
    """The part of a Job that reads its results."""

    def list_fields(self) -> list[dict[str, Any]]:
        """List the recorded fields: name, shape, dtype, units, every and number of stored frames (`committed`)."""
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

    def series(self) -> dict[str, np.ndarray]:
        """Read the observables as plain arrays: `step`, int64 [n], and one float64 [n] per name."""
        return results.series(self._http, self._path)

    def cell(
        self,
        y: int,
        x: int,
        field: str = "psi",
        *,
        start: int | None = None,
        stop: int | None = None,
        stride: int = 1,
        lineage: bool = False,
    ) -> dict[str, np.ndarray]:
        """Read one cell at every recorded step.

        Args:
            y: row of the cell, from the top.
            x: column of the cell.
            field: a recorded field, or a view of one such as `real`.
            start: first step.
            stop: step to stop before.
            stride: every n-th frame.
            lineage: begin with the steps of the jobs that this one continues.

        Returns:
            `step`, int64 [n], and one [n] per component: `re_0`, `im_0`, `re_1`, … of `psi`, else the field's name.

        Raises:
            ProblemError: the field is not recorded, or the cell lies outside of the grid.
        """
        options = {"start": start, "stop": stop, "stride": stride, "lineage": lineage or None}
        return results.cell(self._http, self._path, y, x, field, **options)

    def histogram(
        self,
        field: str,
        bins: int = 64,
        *,
        low: float | None = None,
        high: float | None = None,
        channel: int | None = None,
        start: int | None = None,
        stop: int | None = None,
        stride: int = 1,
        last: int | None = None,
    ) -> dict[str, np.ndarray]:
        """Count the values of each frame of a real field or view.

        Args:
            field: a recorded field, or a view of one such as `gradient`.
            bins: number of bins, of one width.
            low: lower end of the first bin; default: that of the field's range.
            high: upper end of the last bin, which belongs to it; default: that of the field's range.
            channel: channel of a field with channels; default: all together.
            start: first step.
            stop: step to stop before.
            stride: every n-th frame.
            last: only the last n of these frames.

        Returns:
            `step`, int64 [n]; `counts`, int64 [n, bins]; `edges`, float64 [bins + 1]; `outside`, int64 [n], the values
            below, above or not finite; `compression`, float64 [n], bytes after DEFLATE over before.

        Raises:
            ProblemError: the field is not recorded, or it is complex, or an option is wrong.
        """
        return results.histogram(
            self._http, self._path, field, bins=bins, low=low, high=high, channel=channel, start=start, stop=stop,
            stride=stride, last=last,
        )  # fmt: skip

    def curve(self) -> dict[str, np.ndarray]:
        """Read the curve of a training so far: `update` and one float64 [n] per name; `pandas.DataFrame` takes it.

        Raises:
            ProblemError: the job is no training.
        """
        return results.curve(self._http, self._path)

    def download(
        self,
        field: str,
        path: str | Path,
        format: str | None = None,
        *,
        start: int | None = None,
        stop: int | None = None,
        stride: int | None = None,
        channel: int | None = None,
        fps: int | None = None,
        scale: int | None = None,
    ) -> Path:
        """Save a field or the observables to a file.

        A png shows all chosen frames on one sheet; gif and webp are animations of them. Pictures and npz files contain
        the job, the law with its digest, the spec and the steps as JSON. A regular file is replaced when the download
        is complete; a FIFO or a device is written in place, and a symbolic link is followed.

        Args:
            field: a recorded field, or "observables".
            path: the file; `-` is stdout.
            format: npy, npz, png, gif or webp for a field; json, csv or npz for observables; default: the ending of
                `path`.
            start: first step.
            stop: step to stop before.
            stride: every n-th frame.
            channel: channel to draw, of a field with channels.
            fps: frames per second of an animation, at most 50 for gif.
            scale: pixels per cell.

        Returns:
            The path.

        Raises:
            ValueError: the format is unknown.
            ProblemError: the field is not recorded, or an option is wrong.
            OSError: the file cannot be written.
        """
        options = {"start": start, "stop": stop, "stride": stride, "channel": channel, "fps": fps, "scale": scale}
        self._save(field, Path(path), format, **options)
        return Path(path)

    def _save(self, field: str, path: Path, format: str | None, **options: int | None) -> int:
        """Save like `download`, but return the number of bytes written."""
        return results.download(self._http, self._path, field, path, format, options)

    def show(
        self,
        field: str | None = None,
        *,
        start: int | None = None,
        stop: int | None = None,
        frames: int = FRAMES,
        channel: int | None = None,
        lineage: bool = False,
        beside: Sequence[Self] = (),
        fps: int = 12,
    ) -> View:
        """Show the universe in a notebook, with a play button and a slider; new frames come while it runs.

        `show().save("universe.html")` (or gif, webp, png) writes it to a file.

        Args:
            field: a recorded field; default: `phase`, or else another one.
            start: first step; default: the first one.
            stop: step to stop before; default: after the last one.
            frames: most frames; of more, every n-th is read.
            channel: channel to draw, of a field with channels.
            lineage: show the steps of the jobs that this one continues, too.
            beside: other jobs to show beside this one, on the same clock.
            fps: frames per second.

        Raises:
            ValueError: no field is recorded.
            ModuleNotFoundError: a package is not installed (`pip install 'leym[data]'`).
        """
        return view(
            [self, *beside], field, start=start, stop=stop, frames=frames, channel=channel, lineage=lineage, fps=fps
        )

    def differences(self, other: Self, field: str | None = None) -> dict[str, np.ndarray]:
        """Compare the frames of a field with those of another job, such as a fork, at the steps that both have.

        Args:
            other: the other job.
            field: a field that both have recorded; default: `phase`, or else another one.

        Returns:
            `step`, `mean` and `largest` absolute difference (of angles: on the circle), and `cells`, the share of cells
            that differ by more than a hundredth of the field's range.

        Raises:
            ValueError: the jobs have no field or no step in common.
        """
        chosen = field or common_field([self, other])
        return differences(chosen, self.array(chosen), other.array(chosen))

    def list_segments(self) -> list[dict[str, Any]]:
        """List the batch size, kernel, operands and device that computed the frames, from which step on.

        Equal values give equal bits. Results from before version 0.1.0 store the batch size as `rung`.
        """
        group = self._http.json("GET", f"{self._path}/store.zarr/zarr.json", having=("attributes",))
        segments = json.loads(group["attributes"].get("segments", "[]"))
        return [{"batch_size" if key == "rung" else key: value for key, value in s.items()} for s in segments]

    @property
    def fields(self) -> list[dict[str, Any]]:
        """Deprecated: call `list_fields()`."""
        _deprecated("fields", "list_fields()")
        return self.list_fields()

    @property
    def segments(self) -> list[dict[str, Any]]:
        """Deprecated: call `list_segments()`."""
        _deprecated("segments", "list_segments()")
        return self.list_segments()

    @property
    def frames(self) -> xarray.Dataset | results.LazyArrays:
        """Deprecated: call `dataset()`, or `array(field)` where xarray is not installed."""
        _deprecated("frames", "dataset() or array(field)")
        return results.dataset(self._http, self._path, self.field_names)

    @property
    def observables(self) -> xarray.Dataset | dict[str, np.ndarray]:
        """Deprecated: call `dataset()`, or `series()` where xarray is not installed."""
        _deprecated("observables", "dataset() or series()")
        return results.observables(self._http, self._path)

    def field_names(self) -> list[str]:
        """Return the names of the recorded fields."""
        return [recording["field"] for recording in self._data["spec"].get("record") or []]


def _deprecated(old: str, new: str) -> None:
    """Warn the caller of a property of Job that reads from the service; requests belong to methods."""
    warnings.warn(f"Job.{old} is deprecated, because it sends a request: call {new}", DeprecationWarning, stacklevel=3)
