"""Workers and the backlog."""

from __future__ import annotations

import time
from dataclasses import replace

from flask import Response, g

from app.models.operation import LogBody, LogQuery, QueueBody, UsageList, WorkerList, WorkersQuery
from app.openapi import responses, router
from app.services import current_services, service_wide
from app.views import history_event, json_response, worker_body
from leym.contract.records import TRAINING

api = router("queue", "Workers, their slots, and the backlog")


@api.get("/v1/workers", responses=responses({200: WorkerList}))
def list_workers(query: WorkersQuery) -> Response:
    """List the workers that are alive, and with `lost` those that fell silent without taking leave.

    Only the scope `admin` sees which jobs' laws and grids they run.
    """
    services = current_services()
    now = time.time()
    workers = services.table.workers(services.alive_s)
    if query.lost:
        workers += [replace(worker, state="lost", busy=0) for worker in services.table.lost_workers(services.alive_s)]
    if not g.caller.may("admin"):
        workers = [replace(worker, buckets=[], info={}) for worker in workers]
    return json_response({"items": [worker_body(worker, now) for worker in workers], "next": None})


@api.get("/v1/queue", responses=responses({200: QueueBody}))
def get_queue() -> Response:
    """Get the backlog, and the free space for results."""
    services = current_services()
    table, backlog = services.table, services.table.backlog()
    keys = ("jobs", "cell_steps", "queued_cell_steps", "oldest_queued_s")
    able = sum(worker.kind == TRAINING for worker in table.workers(services.alive_s))
    trainings = table.trainings() | {"workers": able}
    body = {
        "trainings": trainings,
        "states": table.counts(),
        "buckets": table.buckets(),
        "storage": services.disk.state(),
    }
    return json_response(body | {key: backlog[key] for key in keys})


@api.get("/v1/usage", responses=responses({200: UsageList}))
def get_usage() -> Response:
    """Get what the caller's project has stored and still runs; with the scope `admin`, what every project has."""
    table = service_wide().table if g.caller.may("admin") else current_services().table
    return json_response({"items": table.usage(), "next": None})


@api.get("/v1/log", responses=responses({200: LogBody}))
def get_log(query: LogQuery) -> Response:
    """Get the newest events of the caller's newest jobs and of those that run, the newest event first."""
    events = current_services().table.recent_events(query.limit)
    items = [history_event(event) | {"job": event["job"], "sweep": event["sweep"]} for event in events]
    return json_response({"items": items, "next": None})
