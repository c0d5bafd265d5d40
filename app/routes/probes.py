"""Probes and metrics, for the people and programs that operate this service."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable

from flask import Response
from sqlalchemy.exc import SQLAlchemyError

from app.errors import problem_response
from app.exposition import exposition
from app.models.operation import HealthBody, ReadyBody
from app.openapi import content, responses, router
from app.services import service_wide
from app.views import json_response
from leym import tickets
from leym.contract.problems import Problem
from leym.contract.records import SIMULATION

api = router("operation", "Probes and metrics")
log = logging.getLogger(__name__)

METRICS = content("Prometheus' text format", "text/plain")


@api.get("/healthz", responses=responses({200: HealthBody}))
def get_health() -> Response:
    """Check that this process answers."""
    return json_response({"status": "ok"}, Cache_Control="no-store")


@api.get("/readyz", responses=responses({200: ReadyBody}))
def get_readiness() -> Response:
    """Check that jobs can be submitted: the job table and the frame store answer.

    `checks` names both. It also names the broker and the workers of simulations: how many take jobs, and how many are
    starting, paused or draining. Without a broker or workers, jobs are accepted and wait. The problem of a 503 has
    `checks` too.
    """
    services = service_wide()
    checks = {
        "table": _check("the job table", lambda: services.table.counts()),
        "store": _check("the frame store", lambda: services.store.head("probe")),
    }
    unavailable = [f"{name} is {found}" for name, found in checks.items() if found != "ok"]
    living = services.table.workers(services.alive_s) if checks["table"] == "ok" else []
    alive = [worker for worker in living if worker.kind == SIMULATION]
    others = Counter(worker.state for worker in alive if worker.state != "ready")
    workers = ", ".join([str(len(alive) - others.total()), *(f"{n} {state}" for state, n in sorted(others.items()))])
    broker = "ok" if tickets.answers(services.settings.redis_url) else "away: tickets wait in the job table"
    body = {"ready": not unavailable, "checks": checks | {"broker": broker, "workers": workers}}
    if unavailable:
        return problem_response(Problem(503, "Not ready", "; ".join(unavailable)), **body)
    return json_response(body, Cache_Control="no-store")


@api.get("/metrics", responses=responses({200: METRICS}))
def get_metrics() -> Response:
    """Get the metrics."""
    return exposition(service_wide())


def _check(subject: str, ask: Callable[[], object]) -> str:
    try:
        ask()
    except (SQLAlchemyError, OSError) as error:
        log.error("not ready: %s does not answer: %s", subject, error)
        return f"away: {type(error).__name__}"
    return "ok"
