"""Tickets as Celery's messages: what Flower makes of their events, in whatever order they come."""

from __future__ import annotations

from celery.events.state import Task
from kombu.utils.uuid import uuid

from leym.tickets import TASK, app

NAME = "tiny fp32 32x32, 9 steps"


def test_flower_shows_the_readable_name_even_if_sent_comes_last():
    ticket = uuid()
    message = app.amqp.create_task_message(ticket, TASK, ("job",), {}, shadow=NAME, create_sent_event=True)
    assert message.headers["task"] == TASK, "workers find the task by this"
    listed = Task(uuid=ticket)
    listed.event("received", 1.0, 1.0, {"name": NAME, "uuid": ticket})
    listed.event("started", 2.0, 2.0, {"uuid": ticket})
    listed.event("sent", 0.0, 3.0, dict(message.sent_event))
    assert (listed.state, listed.name) == ("STARTED", NAME)
