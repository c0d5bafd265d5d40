"""Shows the progress of jobs: bars on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

LINE_EVERY_S = 5.0


class Shown(Protocol):
    """A job or a sweep, as a bar shows it."""

    @property
    def id(self) -> str:
        """The name of the bar, unless `Bars.show` is given another one."""

    @property
    def state(self) -> str:
        """The state, for example `running`."""

    @property
    def step(self) -> int:
        """The steps that are done."""

    @property
    def steps(self) -> int:
        """The steps in all."""


@dataclass(frozen=True)
class Amount:
    """Progress of anything that is counted.

    Attributes:
        id: name of the bar.
        state: state, for example `running`.
        step: amount that is done.
        steps: amount in all.
    """

    id: str
    state: str
    step: int
    steps: int


class Bars:
    """One progress bar per job, on stderr because stdout is for results. Does nothing unless `enabled`."""

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
        """Add or update the bar of a job."""
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
