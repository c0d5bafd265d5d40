"""TicketConsumer: takes tickets from the broker, as `leym.tickets` sends them, and discards all other messages.

Celery itself discards content types that it does not accept and tasks that it does not know. But a body without a
declared content type, or of another shape, ends the worker: the message returns to the queue and ends the next one.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from celery.worker.consumer import Consumer
from kombu.exceptions import ContentDisallowed, DecodeError
from kombu.message import Message

from leym.tickets import TASKS

log = logging.getLogger(__name__)

CONTENT_TYPE = "application/json"
EVENTS_S = 0.2  # longest time that an event waits for others


class TicketConsumer(Consumer):
    """Celery's consumer, which checks every message by `flaw_of` and reports when fetching is stopped.

    It publishes events of tasks together, because each message costs time here, in the broker and in Flower.
    """

    _flush_at = 0.0  # monotonic clock; a flush comes no earlier than this

    def on_send_event_buffered(self) -> None:
        """Publish the event about EVENTS_S seconds from now, with those that come until then.

        Threads of the pool call this, and timers belong to the thread of the hub.
        """
        now = time.monotonic()
        if self.hub and now >= self._flush_at:
            self._flush_at = now + EVENTS_S
            self.hub.call_soon(self.hub.call_later, EVENTS_S, self._flush_events)

    def stop(self) -> None:
        """Publish what is left, and stop."""
        self._flush_events()
        super().stop()

    def add_task_queue(self, queue: str, *arguments: Any, **options: Any) -> None:
        """Start to fetch from the queue, and report it."""
        super().add_task_queue(queue, *arguments, **options)
        self.app.job_runner.set_fetching(True)

    def cancel_task_queue(self, queue: str) -> None:
        """Stop fetching from the queue, and report it."""
        super().cancel_task_queue(queue)
        self.app.job_runner.set_fetching(False)

    def create_task_handler(self, *arguments: Any, **options: Any) -> Callable[[Message], None]:
        """Return the callback that receives messages: Celery's, for messages that are tickets."""
        receive = super().create_task_handler(*arguments, **options)

        def received(message: Message) -> None:
            if flaw := flaw_of(message):
                log.error("a message that is not a ticket is discarded: %s", flaw)
                message.reject_log_error(log, self.connection_errors)
            else:
                receive(message)

        return received


def flaw_of(message: Message) -> str | None:
    """Return why a message is not a ticket; None if it is one."""
    if message.content_type != CONTENT_TYPE:
        return f"content_type = {message.content_type!r:.80}; a ticket has {CONTENT_TYPE}"
    headers = message.headers
    if headers.get("task") not in TASKS:
        return f"task = {headers.get('task')!r:.80}; a ticket has {' or '.join(TASKS)}"
    if later := [key for key in ("eta", "expires") if headers.get(key) is not None]:
        return f"{later[0]} is set; a ticket has none"
    try:
        payload = message.decode()
    except (DecodeError, ContentDisallowed, ValueError, LookupError) as error:
        return f"its body cannot be read: {type(error).__name__}"
    match payload:
        case [[str(job)], {**options}, {**further}] if not options and not any(further.values()):
            return None if headers.get("id") == job else "its id differs from the job id in its body"
    return "its body differs from [[job id], {}, {}]"
