"""Sinks that keep everything in memory."""

from __future__ import annotations

from threading import Event
from types import SimpleNamespace
from typing import Any

import numpy as np


class RecordingSink:
    """The results of one universe."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.fields: dict[int, dict[str, np.ndarray]] = {}
        self.observables: dict[int, dict[str, float]] = {}
        self.checkpoints: dict[int, Any] = {}
        self.last: Any = None
        self.problem: Any = None
        self.step = 0
        self.over, self.began = Event(), Event()

    def admitted(self) -> None:
        self.calls.append("admitted")
        self.began.set()

    def frames(self, step: int, places: Any, fields: Any, observables: Any) -> None:
        assert step not in self.fields, f"frame {step} came twice"
        self.fields[step] = _one(fields)
        self.observables[step] = {name: float(values[0]) for name, values in observables.items()}

    def progress(self, step: int, places: Any) -> None:
        self.step = step

    def checkpoint(self, state: Any) -> None:
        self.checkpoints[state.step] = _one(state.arrays)

    def finished(self, state: Any) -> None:
        self.step, self.final = state.step, _one(state.arrays)
        self.last = self.final["psi"]
        self._end("finished")

    def failed(self, step: int, places: Any, problem: Any) -> None:
        self.step, self.problem = step, problem
        self._end("failed")

    def released(self) -> None:
        self._end("released")

    def _end(self, call: str) -> None:
        self.calls.append(call)
        self.over.set()

    def wait(self, timeout: float = 600) -> RecordingSink:
        assert self.over.wait(timeout), f"no end after {timeout} s; calls: {self.calls}"
        return self

    def psi(self) -> np.ndarray:
        """All recorded psi frames, in order of steps."""
        return np.stack([self.fields[step]["psi"] for step in sorted(self.fields)])


class MembersSink:
    """The results of the members of a run, each in a RecordingSink of its own."""

    def __init__(self, members: int) -> None:
        self.members = [RecordingSink() for _ in range(members)]
        self.calls: list[str] = []
        self.groups: list[tuple[int, list[int]]] = []  # (step, places) of every delivery of frames
        self.released_ = Event()

    def admitted(self) -> None:
        self.calls.append("admitted")

    def frames(self, step: int, places: Any, fields: Any, observables: Any) -> None:
        self.groups.append((step, places.tolist()))
        for i, place in enumerate(places.tolist()):
            self.members[place].frames(step, None, _row(fields, i), _row(observables, i))

    def progress(self, step: int, places: Any) -> None:
        for place in places.tolist():
            self.members[place].progress(step, None)

    def checkpoint(self, state: Any) -> None:
        for i, place in enumerate(state.places.tolist()):
            self.members[place].checkpoint(SimpleNamespace(step=state.step, arrays=_row(state.arrays, i)))

    def finished(self, state: Any) -> None:
        for i, place in enumerate(state.places.tolist()):
            self.members[place].finished(SimpleNamespace(step=state.step, arrays=_row(state.arrays, i)))

    def failed(self, step: int, places: Any, problem: Any) -> None:
        for place in places.tolist():
            self.members[place].failed(step, None, problem)

    def released(self) -> None:
        self.calls.append("released")
        self.released_.set()

    def wait(self) -> MembersSink:
        for member in self.members:
            member.wait()
        return self


def _one(arrays: Any) -> dict[str, np.ndarray]:
    for name, array in arrays.items():
        assert len(array) == 1, f"{name} is of {len(array)} universes"
    return {name: array[0] for name, array in arrays.items()}


def _row(arrays: Any, i: int) -> dict[str, np.ndarray]:
    return {name: array[i : i + 1] for name, array in arrays.items()}
