"""Frames of a running job, in order, as they are committed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from leym.client.http import Http
from leym.client.sse import events

Fetch = Callable[[str, int, int], tuple[np.ndarray, np.ndarray]]  # (field, start, stop) -> (steps, frames)


@dataclass(frozen=True)
class Frame:
    """What is known of a job at one step. Numbers come with it; arrays are fetched when they are asked for."""

    step: int
    fields: tuple[str, ...]  # recorded at this step
    observables: Mapping[str, float]  # observed at this step, else empty
    _fetch: Fetch = field(repr=False, compare=False)
    _arrays: dict[str, np.ndarray] = field(default_factory=dict, repr=False, compare=False)

    def array(self, name: str) -> np.ndarray:
        """The field `name` at this step, [H, W] or [H, W, d]."""
        if name not in self.fields:
            raise KeyError(
                f"{name!r} is not recorded at step {self.step}; recorded: {', '.join(self.fields) or 'nothing'}"
            )
        if name not in self._arrays:
            steps, frames = self._fetch(name, self.step, self.step + 1)
            self._arrays[name] = frames[list(steps).index(self.step)]
        return self._arrays[name]

    @property
    def data(self) -> dict[str, np.ndarray]:
        """Every field recorded at this step."""
        return {name: self.array(name) for name in self.fields}


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
