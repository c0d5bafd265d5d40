"""Who works, and what waits."""

from __future__ import annotations

import time
from dataclasses import replace

from flask import Response, g

from app.exposition import alive_s
from app.models import QueueBody, WorkerList
from app.openapi import answers, router
from app.services import services
from app.views import json_answer, worker_body

api = router("queue", "Workers, their slots, and the backlog")


@api.get("/v1/workers", responses=answers({200: WorkerList}))
def list_workers() -> Response:
    """List the workers that are alive.

    What they are running is shown to the scope `admin` only.
    """
    here = services()
    now = time.time()
    found = here.table.workers(alive_s(here))
    shown = found if g.caller.may("admin") else [replace(worker, buckets=[], info={}) for worker in found]
    return json_answer({"items": [worker_body(worker, now) for worker in shown], "next": None})


@api.get("/v1/queue", responses=answers({200: QueueBody}))
def get_queue() -> Response:
    """Look at the backlog, and at the room for results."""
    table, disk = services().table, services().disk
    backlog = table.backlog()
    keys = ("jobs", "cell_steps", "queued_cell_steps", "oldest_queued_s")
    body = {"states": table.counts(), "buckets": table.buckets(), "storage": disk.state()}
    return json_answer(body | {key: backlog[key] for key in keys})
