"""Reading fields and views of them alike: recorded frames as they are, views computed from recorded frames."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from math import lcm, prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leym.contract.catalog import VIEWS
from leym.contract.limits import LIMITS
from leym.contract.problems import Problem, invalid, not_found
from leym.frames import views
from leym.frames.reader import FrameReader

_OF_PSI: dict[str, Callable[[Any], NDArray[Any]]] = {
    "real": views.real,
    "imag": views.imag,
    "gradient": views.gradient,
    "spectrum": views.spectrum,
    "hsv": lambda psi: views.hsv(views.mean_phase(psi), views.density(psi)),
}


class ViewReader:
    """Reads the recorded fields of a job, and the views that can be computed from them.

    Views cost nothing while a job runs. Their frames are those steps at which all of their sources are recorded. Every
    method raises the problems of `FrameReader`, and Problem 404 for a name that is neither a recorded field nor a view
    of recorded fields.
    """

    def __init__(self, reader: FrameReader):
        self._reader = reader
        self._recorded = {field["name"]: field for field in reader.fields()}

    def described(self, name: str) -> dict[str, Any]:
        """Describe a recorded field as `FrameReader.fields` does, or a view, which also has `made_from`."""
        sources = self._sources(name)
        if sources is None:
            return self._recorded[name]
        info, first = VIEWS[name], self._recorded[sources[0]]
        every, steps = lcm(*(self._recorded[source]["every"] for source in sources)), self._all_steps(sources)
        grid = first["shape"][1:3]
        depth = info.depth(first["shape"][-1])
        start = int(steps[0]) if len(steps) else 0
        return {
            "name": name,
            "shape": [len(steps), *grid, *([depth] if depth else [])],
            "dtype": info.dtypes[0],
            "dims": ["step", *info.dims, *(["channel" if info.per_channel else "colour"] if depth else [])],
            "units": info.units,
            "formula": info.formula,
            "every": every,
            "committed": len(steps),
            "steps": {"start": start, "stop": start + every * len(steps), "stride": every},
            "made_from": list(sources),
        }

    def views(self) -> list[dict[str, Any]]:
        """Describe the views that can be computed from what the job records."""
        found = [name for name in VIEWS if name not in self._recorded and self._usable(name)]
        return [self.described(name) for name in found]

    def steps(self, name: str, start: int | None = None, stop: int | None = None, stride: int = 1) -> NDArray[np.int64]:
        """Return the committed steps with start <= step < stop, every `stride`-th of them: int64 [n]."""
        sources = self._sources(name)
        if sources is None:
            return self._reader.steps(name, start, stop, stride)
        if stride < 1:
            raise invalid(f"stride = {stride} is below 1", "/stride")
        found = self._all_steps(sources)
        last = np.iinfo(np.int64).max if stop is None else stop
        return found[(found >= (start or 0)) & (found < last)][::stride]

    def frame_bytes(self, name: str) -> int:
        """Return the uncompressed size of one frame, or if more of the recorded frames it is made from, in bytes."""
        sources = self._sources(name)
        if sources is None:
            return self._reader.frame_bytes(name)
        described = self.described(name)
        own: int = prod(described["shape"][1:]) * np.dtype(described["dtype"]).itemsize
        read = sum(self._reader.frame_bytes(source) for source in sources)
        return max(own, read)

    def frames(
        self, name: str, start: int | None = None, stop: int | None = None, stride: int = 1
    ) -> Iterator[tuple[int, NDArray[Any]]]:
        """Iterate over (step, frame) of the selected frames, with one shard of each source in memory at a time."""
        sources = self._sources(name)
        if sources is None:
            yield from self._reader.frames(name, start, stop, stride)
            return
        wanted = self.steps(name, start, stop, stride)
        if not len(wanted):
            return
        if (size := sum(map(self._reader.frame_bytes, sources))) > LIMITS.view_bytes:
            what = f"{name} is computed from {size} bytes a step; at most {LIMITS.view_bytes}"
            raise Problem(422, "Too large", f"{what}: read {' and '.join(sources)} instead")
        compute = self._computation(name, sources, wanted)
        for step, frames in self._together(sources, wanted):
            yield step, compute(frames)

    def read(
        self, name: str, start: int | None = None, stop: int | None = None, stride: int = 1
    ) -> tuple[NDArray[np.int64], NDArray[Any]]:
        """Read (steps int64 [n], frames [n, H, W(, d)])."""
        if self._sources(name) is None:
            return self._reader.read(name, start, stop, stride)
        described, steps = self.described(name), self.steps(name, start, stop, stride)
        frames = np.empty((len(steps), *described["shape"][1:]), described["dtype"])
        for i, (_, frame) in enumerate(self.frames(name, start, stop, stride)):
            if i < len(frames):  # a commit since the call of `steps` may have added more
                frames[i] = frame
        return steps, frames

    def _computation(
        self, name: str, sources: tuple[str, ...], wanted: NDArray[np.int64]
    ) -> Callable[[Mapping[str, NDArray[Any]]], NDArray[Any]]:
        """Return the function from the frames of the sources at a step to that of the view."""
        if name == "pca":
            try:
                found = views.principal_components(frames["psi"] for _, frames in self._together(sources, wanted))
            except ValueError as error:
                raise Problem(422, "No colours", f"pca: the selected frames have {error}") from error
            return lambda frames: views.pca(frames["psi"], found)
        if sources == ("phase", "density"):
            return lambda frames: views.hsv(frames["phase"], frames["density"])
        function = _OF_PSI[name]
        return lambda frames: function(frames["psi"])

    def _together(
        self, sources: tuple[str, ...], wanted: NDArray[np.int64]
    ) -> Iterator[tuple[int, dict[str, NDArray[Any]]]]:
        """Iterate over the frames of all sources at the wanted steps."""
        steps, first, stop = set(wanted.tolist()), int(wanted[0]), int(wanted[-1]) + 1
        iterators = []
        for source in sources:
            places = np.searchsorted(self._reader.steps(source, first, stop), wanted)
            strides = np.unique(np.diff(places))
            stride = int(strides[0]) if len(strides) == 1 else 1
            chosen = self._reader.frames(source, first, stop, stride)
            iterators.append((step, frame) for step, frame in chosen if step in steps)
        for found in zip(*iterators, strict=True):
            yield found[0][0], {source: frame for source, (_, frame) in zip(sources, found, strict=True)}

    def _all_steps(self, sources: tuple[str, ...]) -> NDArray[np.int64]:
        found = self._reader.steps(sources[0])
        for source in sources[1:]:
            found = np.intersect1d(found, self._reader.steps(source), assume_unique=True)
        return found

    def _usable(self, name: str) -> tuple[str, ...] | None:
        """Return the recorded fields that a view is computed from; None if none suffice."""
        return next((some for some in VIEWS[name].sources if set(some) <= set(self._recorded)), None)

    def _sources(self, name: str) -> tuple[str, ...] | None:
        """Return the fields that a view is computed from; None for a recorded field."""
        if name in self._recorded:
            return None
        found = self._usable(name) if name in VIEWS else None
        if found is None:
            recorded = ", ".join(self._recorded) or "nothing"
            if name not in VIEWS:
                raise not_found(f"recording (this job records: {recorded})", name)
            needed = ", or ".join(" and ".join(some) for some in VIEWS[name].sources)
            raise Problem(404, "Not found", f"the view {name!r} needs {needed}; this job records: {recorded}")
        return found
