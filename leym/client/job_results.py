"""Results of a job: the part of a Job that reads fields, observables and facts about the run, and saves them."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from leym.client import results
from leym.client.lineage import TimeTravel

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

    def series(self) -> dict[str, np.ndarray]:
        """Read the observables as plain arrays: `step`, int64 [n], and one float64 [n] per name."""
        return results.series(self._http, self._path)

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
        return results.dataset(self._http, self._path, self._field_names)

    @property
    def observables(self) -> xarray.Dataset | dict[str, np.ndarray]:
        """Deprecated: call `dataset()`, or `series()` where xarray is not installed."""
        _deprecated("observables", "dataset() or series()")
        return results.observables(self._http, self._path)

    def _field_names(self) -> list[str]:
        return [recording["field"] for recording in self._data["spec"].get("record") or []]


def _deprecated(old: str, new: str) -> None:
    """Warn the caller of a property of Job that reads from the service; requests belong to methods."""
    warnings.warn(f"Job.{old} is deprecated, because it sends a request: call {new}", DeprecationWarning, stacklevel=3)
