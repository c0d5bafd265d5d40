"""A sink that keeps everything in memory."""

from __future__ import annotations

from threading import Event
from typing import Any

import numpy as np


class RecordingSink:
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

    def frames(self, step: int, fields: Any, observables: Any) -> None:
        assert step not in self.fields, f"frame {step} came twice"
        self.fields[step], self.observables[step] = fields, observables

    def progress(self, step: int) -> None:
        self.step = step

    def checkpoint(self, step: int, arrays: Any) -> None:
        self.checkpoints[step] = arrays

    def finished(self, step: int, arrays: Any) -> None:
        self.step, self.last, self.final = step, arrays["psi"], arrays
        self._end("finished")

    def failed(self, step: int, problem: Any) -> None:
        self.step, self.problem = step, problem
        self._end("failed")

    def released(self) -> None:
        self._end("released")

    def _end(self, call: str) -> None:
        self.calls.append(call)
        self.over.set()

    def wait(self, timeout: float = 120) -> RecordingSink:
        assert self.over.wait(timeout), f"no end after {timeout} s; calls: {self.calls}"
        return self

    def psi(self) -> np.ndarray:
        """All recorded psi frames, in order of steps."""
        return np.stack([self.fields[step]["psi"] for step in sorted(self.fields)])
