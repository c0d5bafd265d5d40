"""Frames of a running job, in order, as they are committed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

from leym.client.sse import events

if TYPE_CHECKING:
    from leym.client.job import Job


@dataclass(frozen=True)
class Frame:
    """What is known of a job at one step. Numbers come with it; arrays are fetched when they are asked for."""

    step: int
    fields: tuple[str, ...]  # recorded at this step
    observables: Mapping[str, float]  # observed at this step, else empty
    _job: Job = field(repr=False, compare=False)
    _arrays: dict[str, np.ndarray] = field(default_factory=dict, repr=False, compare=False)

    def array(self, name: str) -> np.ndarray:
        """The field `name` at this step, [H, W] or [H, W, d]."""
        if name not in self.fields:
            raise KeyError(
                f"{name!r} is not recorded at step {self.step}; recorded: {', '.join(self.fields) or 'nothing'}"
            )
        if name not in self._arrays:
            steps, frames = self._job.array(name, self.step, self.step + 1)
            self._arrays[name] = frames[list(steps).index(self.step)]
        return self._arrays[name]

    @property
    def data(self) -> dict[str, np.ndarray]:
        """Every field recorded at this step."""
        return {name: self.array(name) for name in self.fields}


def frames_of(job: Job, start: int | Literal["latest"], only: str | None) -> Iterator[Frame]:
    """The frames of `job` from step `start` on, until the job has ended."""
    if start == "latest":
        start = job.refresh().step + 1
    last_id = str(start - 1) if start > 0 else ""
    for event in events(job._http, f"{job._path}/events", last_id=last_id):
        data = json.loads(event.data)
        if event.name == "frame":
            frame = Frame(int(data["step"]), tuple(data.get("fields", ())), data.get("observables") or {}, job)
            if only is None or only in frame.fields:
                yield frame
        elif event.name == "end":
            return
