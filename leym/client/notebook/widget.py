"""The live viewer of notebooks: frames come from the SDK over the kernel's connection, so no page asks the service."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import anywidget
import numpy as np
import traitlets

from leym.client.panels import Panel, Universe, described
from leym.viewer import script, style

TOGETHER = 64  # frames of one message


class Viewer(anywidget.AnyWidget):
    """Shows the frames of a view, and further ones while a job runs.

    Args:
        panels: the universes.
        fps: frames per second.
        frames: returns the frames that are there: (number of the panel, step, frame), in the order of the steps.
        following: number of the panel, job and field of each universe whose new frames are added until it has ended.
    """

    _esm = script()
    _css = style()
    panels: Any = traitlets.List().tag(sync=True)
    fps: Any = traitlets.Int(12).tag(sync=True)
    live: Any = traitlets.Bool(False).tag(sync=True)

    def __init__(
        self,
        panels: Sequence[Panel],
        fps: int,
        frames: Callable[[], Iterable[tuple[int, int, Any]]],
        following: Sequence[tuple[int, Universe, str]] = (),
    ):
        super().__init__(panels=[described(panel) for panel in panels], fps=fps, live=bool(following))
        self._last = [int(panel.steps[-1]) if len(panel.steps) else -1 for panel in panels]
        self._frames, self._following = frames, following
        self._reading, self._running, self._lock = False, len(following), threading.Lock()
        self.on_msg(self._receive)

    def _receive(self, _: Any, message: Any, buffers: Any) -> None:
        if not isinstance(message, dict) or message.get("type") != "ready":
            return
        waiting: list[tuple[int, int, Any]] = []
        for frame in self._frames():
            waiting.append(frame)
            if len(waiting) == TOGETHER:
                self._send_frames(waiting)
                waiting = []
        self._send_frames(waiting)
        if not self._reading:
            self._reading = True
            for following in self._following:
                threading.Thread(target=self._follow, args=following, daemon=True).start()

    def _follow(self, panel: int, job: Universe, field: str) -> None:
        try:
            for step, codes in job.live(field, start=self._last[panel] + 1, fps=self.fps, dtype="u8"):
                self._send_frames([(panel, step, codes.astype(np.uint8))])
        finally:
            with self._lock:
                self._running -= 1
                self.live = self._running > 0

    def _send_frames(self, frames: Sequence[tuple[int, int, Any]]) -> None:
        if frames:
            places = [[panel, step] for panel, step, _ in frames]
            self.send({"frames": places}, [np.ascontiguousarray(frame).tobytes() for *_, frame in frames])
