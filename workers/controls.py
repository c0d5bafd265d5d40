"""Celery's remote controls, as Flower and `celery control` send them: refuses those that a worker cannot carry out.

Celery would answer most of these with "ok", or with a traceback, and change nothing.

One control is our own: `leym.tickets.STEER` tells workers that a user has asked for an intervention in a job.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from celery.worker import control
from celery.worker.control import Panel

from leym.contract.records import TRAINING
from leym.settings import Settings, settings
from leym.tickets import STEER, training_queue

FIXED_SIZE = "a worker has LEYM_SLOTS slots from its start to its end"
REFUSED = {
    "pool_grow": FIXED_SIZE,
    "pool_shrink": FIXED_SIZE,
    "autoscale": f"{FIXED_SIZE}; workers are started by backlog with `leym up --autoscale MIN:MAX`",
    "pool_restart": "a worker keeps its device; to restart it, shut it down: its supervisor starts another",
    "time_limit": "the time limit of a job is the key deadline_s of its JobSpec",
    "rate_limit": "LEYM_RATE limits requests of the API, LEYM_QUOTA_RUNNING the running jobs of a project",
}


def own_queue(configured: Settings) -> str:
    """Return the name of the only queue that this worker takes tickets from."""
    return training_queue(configured.queue) if configured.worker == TRAINING else configured.queue


def install() -> None:
    """Replace Celery's own controls; called once, by the workers' application."""
    for name, reason in REFUSED.items():
        Panel.data[name] = _refusal(name, reason)
    Panel.data[STEER] = _steer
    Panel.data["add_consumer"] = _for_own_queue(control.add_consumer)
    Panel.data["cancel_consumer"] = _for_own_queue(control.cancel_consumer)


def _steer(state: Any, job_id: str, **_: Any) -> None:
    state.app.job_runner.steer(job_id)


def _refusal(name: str, reason: str) -> Callable[..., dict[str, str]]:
    def refuse(state: Any, **_: Any) -> dict[str, str]:
        return {"error": f"{name} does nothing here: {reason}"}

    return refuse


def _for_own_queue(action: Callable[..., dict[str, str]]) -> Callable[..., dict[str, str]]:
    def checked(state: Any, queue: str, **options: Any) -> dict[str, str]:
        own = own_queue(settings())
        if queue != own:
            return {"error": f"queue = {queue[:80]!r}: a worker takes tickets from {own!r} only"}
        return action(state, queue, **options)

    return checked
