"""Probes and metrics, for whatever runs this service."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable

from flask import Response
from sqlalchemy.exc import SQLAlchemyError

from app.errors import problem
from app.exposition import alive_s, exposition
from app.models import HealthBody, ReadyBody
from app.openapi import answers, media, router
from app.services import whole
from app.views import json_answer
from leym import tickets
from leym.contract.problems import Problem

api = router("operation", "Probes and metrics")
log = logging.getLogger(__name__)

TEXT = media("Prometheus' text format", "text/plain")


@api.get("/healthz", responses=answers({200: HealthBody}))
def get_health() -> Response:
    """Whether this process answers."""
    return json_answer({"status": "ok"}, Cache_Control="no-store")


@api.get("/readyz", responses=answers({200: ReadyBody}))
def get_readiness() -> Response:
    """Whether jobs can be taken in: the job table and the frame store answer.

    If not, the problem has `checks` too. They also name the broker and the workers: how many take jobs, and how many
    are starting, paused or draining. Without either, jobs are taken in and wait.
    """
    here = whole()
    checks = {
        "table": _check("the job table", lambda: here.table.counts()),
        "store": _check("the frame store", lambda: here.store.head("probe")),
    }
    away = [f"{name} is {found}" for name, found in checks.items() if found != "ok"]
    alive = here.table.workers(alive_s(here)) if checks["table"] == "ok" else []
    others = Counter(worker.state for worker in alive if worker.state != "ready")
    workers = ", ".join([str(len(alive) - others.total()), *(f"{n} {state}" for state, n in sorted(others.items()))])
    broker = "ok" if tickets.answers(here.settings.redis_url) else "away: tickets wait in the job table"
    body = {"ready": not away, "checks": checks | {"broker": broker, "workers": workers}}
    if away:
        return problem(Problem(503, "Not ready", "; ".join(away)), **body)
    return json_answer(body, Cache_Control="no-store")


@api.get("/metrics", responses=answers({200: TEXT}))
def get_metrics() -> Response:
    """Get the metrics."""
    return exposition(whole())


def _check(what: str, ask: Callable[[], object]) -> str:
    try:
        ask()
    except (SQLAlchemyError, OSError) as error:
        log.error("not ready: %s does not answer: %s", what, error)
        return f"away: {type(error).__name__}"
    return "ok"
