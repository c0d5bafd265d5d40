"""Sends the frames of one field of a job over a WebSocket: those that are committed, then new ones as they come.

Frames are read from the store, never from the worker, so viewers do not slow a job down.
"""

from __future__ import annotations

import json
import logging
import time
from functools import partial
from typing import Any

from sqlalchemy.exc import SQLAlchemyError
from websockets.frames import CloseCode

from app import shutdown
from app.frame_messages import Encoding
from app.services import Services
from app.websocket import WebSocket
from leym.contract.problems import Problem
from leym.contract.records import Job
from leym.frames.reader import FrameReader, check_available

log = logging.getLogger(__name__)

POLL_S = 1.0  # the row is read at least this often, since wake-ups can be lost and this process may be asked to stop
UNDERWAY = 4  # with `fps`, so many frames may be on their way to the client, so that it is not shown old ones


class FrameStream:
    """One viewer of a field of a job."""

    def __init__(
        self,
        services: Services,
        job: Job,
        encoding: Encoding,
        start: int = 0,
        fps: float | None = None,
        cursor: str | None = None,
    ):
        """Set up the stream; `serve` runs it.

        Args:
            services: The services of the job's project.
            job: The job.
            encoding: The field, and the form of its numbers.
            start: The first step that the viewer wants.
            fps: Most frames per second: the newest are sent and those in between skipped, but never the first and the
                last. None sends every frame.
            cursor: Position in the wake-ups, taken before `job` was read, so that none is lost in between.
        """
        self._services, self._job, self._encoding = services, job, encoding
        self._next, self._fps, self._cursor = start, fps, cursor
        self._has_first = False
        self._due = 0.0

    def serve(self, websocket: WebSocket) -> None:
        """Send frames until the job has ended; then `end`, or `error` if the frames cannot be read any more.

        Raises:
            Closed: The client has closed the connection, or does not answer any more.
        """
        try:
            if not self._follow(websocket):
                websocket.close(CloseCode.GOING_AWAY, "the service is stopping; connect again")
                return
        except Problem as error:
            log.warning("the frame stream of job %s failed: %s", self._job.id, error)
            websocket.send(_text("error", error.as_dict()))
            websocket.close(CloseCode.INTERNAL_ERROR if error.status >= 500 else CloseCode.POLICY_VIOLATION)
        except (OSError, SQLAlchemyError) as error:
            log.error("the frame stream of job %s failed", self._job.id, exc_info=error)
            problem = Problem(503, "Frames unavailable", "the frame store or the job table does not answer; try again")
            websocket.send(_text("error", problem.as_dict()))
            websocket.close(CloseCode.TRY_AGAIN_LATER)
        else:
            websocket.send(_text("end", {"state": str(self._job.state), "step": self._job.step}))
            websocket.close(CloseCode.NORMAL_CLOSURE)

    def _follow(self, websocket: WebSocket) -> bool:
        """Send frames until the job has ended; return False if this process is stopping before that."""
        table = self._services.table
        while True:
            check_available(self._job)
            reader = FrameReader(self._services.store, self._job, partial(table.get, self._job.id))
            if not self._send_committed(websocket, reader):
                return False
            waiting = len(reader.steps(self._encoding.field, self._next)) > 0  # skipped so far, because of `fps`
            if self._job.final and not waiting:
                return True
            if waiting:
                websocket.receive(max(0.001, min(POLL_S, self._due - time.monotonic())))
            else:
                websocket.receive()
                self._cursor = self._services.events.wait(self._job.results, self._cursor, POLL_S)
            if shutdown.stopping():
                return False
            self._job = self._services.recent_jobs.get(self._job.id, self._cursor, table.get)

    def _send_committed(self, websocket: WebSocket, reader: FrameReader) -> bool:
        """Send what may be sent of the committed frames; return False if this process is stopping."""
        steps = reader.steps(self._encoding.field, self._next).tolist()
        if self._fps is None:
            for step, message in self._services.frame_cache.messages(reader, steps, self._encoding):
                websocket.send(message)
                websocket.receive()
                self._next = step + 1
                if shutdown.stopping():
                    return False
            return True
        for step in [*steps[:1], *steps[-1:]] if not self._has_first else steps[-1:]:
            if step < self._next or time.monotonic() < self._due or websocket.underway >= UNDERWAY:
                continue
            [(_, message)] = self._services.frame_cache.messages(reader, [step], self._encoding)
            websocket.send(message)
            websocket.ping()
            self._due = time.monotonic() + 1 / self._fps
            self._next, self._has_first = step + 1, True
        return True


def _text(kind: str, data: dict[str, Any]) -> str:
    """Return a control message. It replaces the `type` of a problem, which is always about:blank."""
    return json.dumps(data | {"type": kind})
