"""How far jobs are: bars on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from typing import Any, Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

LINE_EVERY_S = 5.0


class Shown(Protocol):
    """What a bar shows: a job, or a sweep as a whole."""

    @property
    def id(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def step(self) -> int: ...
    @property
    def steps(self) -> int: ...


class Bars:
    """One bar per job, written to stderr so that stdout stays the result. Does nothing unless `enabled`."""

    def __init__(self, enabled: bool = True, console: Console | None = None):
        self.enabled = enabled
        self.console = console or Console(stderr=True)
        self._bars: dict[str, TaskID] = {}
        self._lines: dict[str, tuple[str, float]] = {}
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[state]}"),
            TimeRemainingColumn(),
            console=self.console,
            disable=not (enabled and self.console.is_terminal),
        )

    def show(self, job: Shown, name: str | None = None) -> None:
        if not self.enabled:
            return
        if not self.console.is_terminal:
            self._line(job, name or job.id)
        elif job.id in self._bars:
            self._progress.update(self._bars[job.id], completed=job.step, state=job.state)
        else:
            self._bars[job.id] = self._progress.add_task(
                name or job.id, total=job.steps, completed=job.step, state=job.state
            )

    def _line(self, job: Shown, name: str) -> None:
        state, at = self._lines.get(job.id, ("", 0.0))
        now = time.monotonic()
        if job.state == state and (now - at < LINE_EVERY_S or job.state != "running"):
            return
        self._lines[job.id] = (job.state, now)
        self.console.print(f"{name} {job.state} {job.step}/{job.steps}", highlight=False, soft_wrap=True)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *exc: Any) -> None:
        self._progress.stop()
