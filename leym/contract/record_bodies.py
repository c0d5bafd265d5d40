"""JSON of jobs and sweeps, as the API answers it and as webhooks carry it.

The models in `app.models` describe these bodies for the OpenAPI document.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from leym.contract.ids import distance
from leym.contract.records import FINAL, Job, Sweep


def rfc3339(seconds: float | None) -> str | None:
    """Return a time in seconds since 1970 as RFC 3339, in UTC with microseconds."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def job_body(job: Job, root: str = "") -> dict[str, Any]:
    """Return a job as `JobBody`.

    Args:
        job: The job.
        root: The path prefix that a proxy adds to links.
    """
    path = f"{root}/v1/jobs/{job.id}"
    links = {
        "self": path,
        "events": f"{path}/events",
        "frames": f"{path}/frames",
        "observables": f"{path}/observables",
        "store": f"{path}/store.zarr",
        "stream": f"{path}/stream",
        "states": f"{path}/states",
        "lineage": f"{path}/lineage",
        "history": f"{path}/history",
        "interventions": f"{path}/interventions",
        "export": f"{path}/export",
        "cancel": f"{path}/cancel",
    }
    if job.is_training:
        links = {name: links[name] for name in ("self", "events", "history", "cancel")} | {"curve": f"{path}/curve"}
        if "@" in job.law:
            links["law"] = f"{root}/v1/laws/{job.law}"
    if job.is_fidelity:
        links["fidelity"] = f"{root}/v1/laws/{job.law}/fidelity/{job.precision}"
    if job.sweep:
        links["sweep"] = f"{root}/v1/sweeps/{job.sweep}"
    if job.sweep and job.block:
        links["member"] = f"{root}/v1/sweeps/{job.sweep}/members/{distance(job.sweep, job.id) - 1}"
    return {
        "id": job.id,
        "state": str(job.state),
        "step": job.step,
        "steps": job.steps,
        "law": job.law,
        "precision": job.precision,
        "fidelity": job.fidelity,
        "d_state": job.d_state,
        "spec": job.spec,
        "priority": job.priority,
        "name": job.name,
        "note": job.note,
        "starred": job.starred,
        "tags": job.tags,
        "sweep": job.sweep,
        "point": job.point,
        "parent": job.parent,
        "from_step": job.begins_at,
        "differs": job.differs,
        "reuse": None,
        "epoch": job.epoch,
        "attempts": job.attempts,
        "worker": job.owner,
        "reason": None,
        "device_seconds": round(job.device_s, 6),
        "error": job.error,
        "verdict": job.manifest.get("verdict"),
        "observables": job.observables_last,
        "created_at": rfc3339(job.created_at),
        "started_at": rfc3339(job.started_at),
        "finished_at": rfc3339(job.finished_at),
        "expires_at": rfc3339(job.expires_at),
        "stored_bytes": job.stored_bytes,
        "queue": {
            "waited_s": _duration(job.created_at, job.started_at),
            "ran_s": _duration(job.started_at, job.finished_at),
            "waits_for": None,
        },
        "links": links,
    }


SWEEP_PARTS = ("jobs", "export", "summary", "table", "cancel", "pause", "resume", "retry")


def sweep_body(sweep: Sweep, counts: dict[str, int], root: str = "") -> dict[str, Any]:
    """Return a sweep as `SweepBody`.

    Args:
        sweep: The sweep.
        counts: The number of its jobs in each state.
        root: The path prefix that a proxy adds to links.
    """
    path = f"{root}/v1/sweeps/{sweep.id}"
    return {
        "id": sweep.id,
        "size": sweep.size,
        "state": _sweep_state(sweep, counts),
        "counts": counts,
        "blocks": sweep.blocks,
        "progress": {"cell_steps": sweep.cell_steps, "done": sweep.cell_steps_done},
        "name": sweep.name,
        "note": sweep.note,
        "starred": sweep.starred,
        "tags": sweep.tags,
        "spec": sweep.spec,
        "added": [
            {"first": part.first, "size": part.size, "axes": part.axes, "mode": part.mode} for part in sweep.added
        ],
        "created_at": rfc3339(sweep.created_at),
        "paused_at": rfc3339(sweep.paused_at),
        "links": {"self": path, "store": f"{path}/store.zarr"} | {name: f"{path}/{name}" for name in SWEEP_PARTS},
    }


def _sweep_state(sweep: Sweep, counts: dict[str, int]) -> str:
    if sum(counts.get(state, 0) for state in FINAL) < sweep.size:
        return "running" if sweep.paused_at is None else "paused"
    return next((state for state in ("failed", "cancelled") if counts.get(state)), "succeeded")


def _duration(start: float | None, end: float | None) -> float | None:
    return None if start is None or end is None else round(max(0.0, end - start), 6)
