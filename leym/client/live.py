"""Frames of a running job, in order, as they are stored."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from leym.client.http import Http
from leym.client.sse import events

Fetch = Callable[[str, int, int], tuple[np.ndarray, np.ndarray]]  # (field, start, stop) -> (steps, frames)


@dataclass(frozen=True)
class Frame:
    """The recorded fields and the observables of a job at one step.

    The observables come with the frame; the array of a field is downloaded when it is used.

    Attributes:
        step: the step, which is also the id of the frame.
        fields: names of the fields recorded at this step.
        observables: values of the observables of this step; empty if there are none.
    """

    step: int
    fields: tuple[str, ...]
    observables: Mapping[str, float]
    _fetch: Fetch = field(repr=False, compare=False)
    _arrays: dict[str, np.ndarray] = field(default_factory=dict, repr=False, compare=False)

    def array(self, name: str) -> np.ndarray:
        """Return a field at this step, [H, W] or [H, W, d].

        Raises:
            KeyError: the field is not recorded at this step.
        """
        if name not in self.fields:
            raise KeyError(
                f"{name!r} is not recorded at step {self.step}; recorded: {', '.join(self.fields) or 'nothing'}"
            )
        if name not in self._arrays:
            steps, frames = self._fetch(name, self.step, self.step + 1)
            self._arrays[name] = frames[list(steps).index(self.step)]
        return self._arrays[name]

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays of all fields recorded at this step, by name."""
        return {name: self.array(name) for name in self.fields}

    @property
    def data(self) -> dict[str, np.ndarray]:
        """Deprecated: call `arrays()`."""
        warnings.warn(
            "Frame.data is deprecated, because it sends requests: call arrays()", DeprecationWarning, stacklevel=2
        )
        return self.arrays()


@dataclass(frozen=True)
class JobEvent:
    """Something that happened to a job.

    Attributes:
        kind: `state`, `frame`, `progress` or `end`; docs/streams.md says when each comes.
        job: id of the job.
        data: what the event tells: state, step, steps, fields, observables, error.
        id: position of the reader in all jobs that are followed, for `Client.events(after=…)`.
    """

    kind: str
    job: str
    data: dict[str, Any] = field(hash=False)
    id: str = field(compare=False)

    @property
    def step(self) -> int:
        """The step of the event."""
        return int(self.data.get("step") or 0)


def frames_of(http: Http, path: str, start: int, only: str | None, fetch: Fetch) -> Iterator[Frame]:
    """Yield the frames of the job at `path` from step `start` on, until the job has ended."""
    last_id = str(start - 1) if start > 0 else ""
    for event in events(http, f"{path}/events", last_id=last_id):
        data: dict[str, Any] = json.loads(event.data)
        if event.name == "frame":
            frame = Frame(int(data["step"]), tuple(data.get("fields", ())), data.get("observables") or {}, fetch)
            if only is None or only in frame.fields:
                yield frame
        elif event.name == "end":
            return
