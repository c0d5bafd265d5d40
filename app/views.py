"""Builds JSON responses, and the bodies of jobs, sweeps, laws, verdicts and workers.

The models in `app.models` describe these bodies for the OpenAPI document.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

from flask import Response, request

from leym.common.strict_json import nan_to_null
from leym.contract import record_bodies
from leym.contract.record_bodies import rfc3339
from leym.contract.records import Job, Sweep, Worker
from leym.laws.bundle import Bundle, has_preview
from leym.laws.temporary import temporary_until
from leym.laws.verdicts import Verdict


def json_response(body: Any, status: int = 200, **headers: str) -> Response:
    """Answer with JSON. A 200 has an ETag, and becomes a 304 if the request's `If-None-Match` names it.

    Args:
        body: The value to send.
        status: The status.
        headers: Further headers, by name with `_` for `-`.
    """
    response = Response(json_text(body), status, content_type="application/json")
    for name, value in headers.items():
        response.headers[name.replace("_", "-")] = value
    response.headers.setdefault("Cache-Control", "no-cache")
    if request.method in ("GET", "HEAD") and status == 200:
        response.add_etag()
        response.make_conditional(request)
    return response


def json_text(body: Any) -> str:
    """Return a value as standard JSON, with null in place of NaN and the infinities."""
    try:
        return json.dumps(body, allow_nan=False)
    except ValueError:
        return json.dumps(nan_to_null(body), allow_nan=False)


def job_body(job: Job) -> dict[str, Any]:
    """Return a job as `JobBody`, with links below the path prefix that a proxy adds."""
    return record_bodies.job_body(job, request.script_root)


def history_event(event: dict[str, Any]) -> dict[str, Any]:
    """Return an event of a job's history as `HistoryEvent`."""
    keys = ("event", "worker", "epoch", "attempt", "step", "why")
    return {"at": rfc3339(event["at"])} | {key: event.get(key) for key in keys}


def lineage_node(job: Job, relation: str) -> dict[str, Any]:
    """Return a job of a lineage as `LineageNode`.

    Args:
        job: The job, which may be deleted.
        relation: Its relation to the job that was asked for.
    """
    return {
        "id": job.id,
        "parent": job.parent,
        "relation": relation,
        "name": job.name,
        "state": str(job.state),
        "from_step": job.begins_at,
        "to_step": job.step,
        "steps": job.steps,
        "differs": job.differs or {},
        "deleted": job.deleted_at is not None,
        "readable": job.gone(time.time()) is None,
        "law": job.law,
        "precision": job.precision,
        "spec": job.spec,
        "created_at": rfc3339(job.created_at),
        "finished_at": rfc3339(job.finished_at),
    }


def sweep_body(sweep: Sweep, counts: dict[str, int]) -> dict[str, Any]:
    """Return a sweep as `SweepBody`.

    Args:
        sweep: The sweep.
        counts: The number of its jobs in each state.
    """
    return record_bodies.sweep_body(sweep, counts, request.script_root)


def sweep_row(job: Job) -> dict[str, Any]:
    """Return a job of a sweep as `SweepRow`."""
    return {
        "id": job.id,
        "state": str(job.state),
        "step": job.step,
        "steps": job.steps,
        "point": job.point or {},
        "observables": job.observables_last or {},
    }


def law_body(bundle: Bundle, versions: Sequence[Bundle]) -> dict[str, Any]:
    """Return a law as `LawBody`.

    Args:
        bundle: The version to describe.
        versions: Every stored version of the law, newest first.
    """
    manifest = bundle.manifest
    return {
        "name": bundle.name,
        "digest": bundle.digest,
        "ref": bundle.ref,
        "architecture": manifest.architecture,
        "form": manifest.form,
        "d_state": manifest.d_state,
        "hidden_channels": manifest.hidden_channels,
        "parameters": bundle.parameters,
        "grid_multiple": manifest.grid_multiple,
        "boundary": manifest.boundary,
        **manifest.model_dump(mode="json", include={"constraint", "living"}),
        "options": manifest.network_options,
        "memory": manifest.architecture_info.memory,
        "policy": manifest.policy,
        "codes": manifest.codes,
        "start": manifest.default_start.model_dump(mode="json"),
        "description": manifest.description,
        "provenance": manifest.provenance,
        "versions": [version.ref for version in versions],
        "preview": f"{request.script_root}/v1/laws/{bundle.ref}/preview" if has_preview(bundle) else None,
        "temporary_until": rfc3339(temporary_until(bundle)),
    }


def verdict_body(verdict: Verdict) -> dict[str, Any]:
    """Return the summary of a verdict as `VerdictBody`."""
    columns = ("outcome", "deciding", "effect", "low", "high", "power", "baseline_mean", "candidate_mean")
    return {
        "precision": verdict.precision,
        "verdict": verdict.verdict,
        "reasons": verdict.reasons,
        "metrics": {row.name: {key: getattr(row, key) for key in columns} for row in verdict.metrics},
        "members": verdict.plan["members"],
        "power": verdict.power,
        "members_needed": verdict.members_needed,
        "regime": verdict.regime.get("label"),
        "created": verdict.created,
    }


def worker_body(worker: Worker, now: float) -> dict[str, Any]:
    """Return a worker as `WorkerBody`.

    Args:
        worker: The worker.
        now: The current time in seconds since 1970.
    """
    return {
        "name": worker.name,
        "host": worker.host,
        "pid": worker.pid,
        "device": worker.device,
        "kind": worker.kind,
        "state": str(worker.state),
        "slots": worker.slots,
        "busy": worker.busy,
        "waiting": worker.waiting,
        "buckets": worker.buckets,
        "cell_steps": worker.cell_steps,
        "cell_steps_per_s": worker.cell_steps_per_s,
        "idle_s": None if worker.idle_since is None else max(0.0, now - worker.idle_since),
        "started_at": rfc3339(worker.started_at),
        "updated_at": rfc3339(worker.updated_at),
        "info": worker.info,
    }
