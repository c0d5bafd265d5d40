"""What of the broker's messages a worker takes: tickets as `leym.tickets` sends them, and nothing else.

Celery itself discards forms that are not accepted and tasks that are not known, but a body of no declared form, or of
another shape, ends its worker: the message goes back, and ends the next one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from celery.worker.consumer import Consumer
from kombu import Message
from kombu.exceptions import ContentDisallowed, DecodeError

from leym.tickets import TASK

log = logging.getLogger(__name__)

FORM = "application/json"


class TicketConsumer(Consumer):
    """Celery's, behind `flaw_of`. When remote control stops fetching, the host's heartbeat says so."""

    def add_task_queue(self, queue: str, *arguments: Any, **options: Any) -> None:
        super().add_task_queue(queue, *arguments, **options)
        self.app.host.fetch(True)

    def cancel_task_queue(self, queue: str) -> None:
        super().cancel_task_queue(queue)
        self.app.host.fetch(False)

    def create_task_handler(self, *arguments: Any, **options: Any) -> Callable[[Message], None]:
        receive = super().create_task_handler(*arguments, **options)

        def received(message: Message) -> None:
            if flaw := flaw_of(message):
                log.error("a message that is no ticket is discarded: %s", flaw)
                message.reject_log_error(log, self.connection_errors)
            else:
                receive(message)

        return received


def flaw_of(message: Message) -> str | None:
    """Why a message is no ticket; None when it is one."""
    if message.content_type != FORM:
        return f"content_type = {message.content_type!r:.80}; a ticket is {FORM}"
    headers = message.headers
    if headers.get("task") != TASK:
        return f"task = {headers.get('task')!r:.80}; a ticket is of {TASK}"
    if later := [key for key in ("eta", "expires") if headers.get(key) is not None]:
        return f"{later[0]} is set; a ticket has none"
    try:
        payload = message.decode()
    except (DecodeError, ContentDisallowed, ValueError, LookupError) as error:
        return f"its body cannot be read: {type(error).__name__}"
    match payload:
        case [[str(job)], {**options}, {**further}] if not options and not any(further.values()):
            return None if headers.get("id") == job else "its id is not that of its job"
    return "its body is not [[job], {}, {}]"
