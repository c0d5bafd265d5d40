"""Time travel: extensions, forks, kept states, and the lineage of a job."""

from __future__ import annotations

from typing import Any

from flask import Response, request, url_for

from app import submission
from app.conditional import cache_control
from app.downloads import TYPES, file_response, temporary_file, write_npy
from app.lookup import find_results
from app.models.base import IdempotencyHeader, IdPath
from app.models.jobs import JobBody
from app.models.lineage import ExtendRequest, ForkRequest, LineageBody, StateList, StatePath, StatesQuery
from app.openapi import content, json_content, partial_responses, responses, router, use_pydantic_schema
from app.services import current_services
from app.views import job_body, json_response, lineage_node
from leym.frames.kept import kept_states, load_state

api = router("lineage", "Time travel: extend and fork jobs, read kept states and lineages")
use_pydantic_schema(ExtendRequest)
use_pydantic_schema(ForkRequest)

MOST_NODES = 1000  # of the tree in one answer, besides the job and its ancestors
ACCEPTED = json_content(JobBody, "The job was accepted", Location="path of the job")
REUSED = json_content(JobBody, "An earlier job computes the same (`reuse`)", Location="path of the job")
STATE = content("psi, complex64 [H, W, d]", TYPES["npy"], Content_Disposition="a name for the file")


@api.post("/v1/jobs/<id>/extend", responses=responses({200: REUSED, 202: ACCEPTED}, 404, 409, 410, 413, 415, 507))
def extend_job(header: IdempotencyHeader, path: IdPath, body: ExtendRequest) -> Response:
    """Run a job on, from its last state to a later step.

    A new job goes on with everything that the job has: law and its version, precision, grid, seed, gamma, recordings,
    tags, priority; keys of a JobSpec in the body take their place. Steps count on: `steps` is the last step, counted
    from the start of the first job. With no key changed, it computes what the job would have, bit for bit. `differs`
    says what is not the same.
    """
    made = submission.extend_job(current_services(), path.id, _sent(steps=body.steps), header.idempotency_key)
    return submitted(made)


@api.post("/v1/jobs/<id>/fork", responses=responses({200: REUSED, 202: ACCEPTED}, 404, 409, 410, 413, 415, 507))
def fork_job(header: IdempotencyHeader, path: IdPath, body: ForkRequest) -> Response:
    """Go on from any kept state of a job, with other values.

    Like an extension, but from the step that `step` names: one that `keep_states` has kept, one at which psi was
    recorded, or the last one. Without `steps`, the new job ends at the step at which the job ends.
    """
    made = submission.fork_job(current_services(), path.id, _sent(step=body.step), header.idempotency_key)
    return submitted(made)


def submitted(made: submission.Submitted) -> Response:
    """Answer with a submitted job: 202 for a new one, 200 for an earlier one that serves the request."""
    status = 200 if made.reuse in ("returned", "joined") else 202
    location = url_for("jobs.get_job", id=made.job.id)
    return json_response(job_body(made.job) | {"reuse": made.reuse}, status, Location=location)


@api.get("/v1/jobs/<id>/states", responses=responses({200: StateList}, 404, 410))
def list_states(path: IdPath, query: StatesQuery) -> Response:
    """List the states from which other jobs can go on."""
    job, _ = find_results(current_services(), path.id)
    found = [state for state in kept_states(job) if state.step >= query.start]
    items = [{"step": s.step, "kind": s.kind, "bytes": s.bytes} for s in found[: query.limit]]
    following = found[query.limit].step if len(found) > query.limit else None
    return json_response({"items": items, "next": following}, Cache_Control=cache_control(job))


@api.get("/v1/jobs/<id>/states/<step>", responses=responses({200: STATE} | partial_responses(TYPES["npy"]), 404, 410))
def get_state(path: StatePath) -> Response:
    """Download the complete state of a job at a step, as an npy file: psi, complex64 [H, W, d].

    `POST /v1/states` takes the same file.
    """
    services = current_services()
    job, _ = find_results(services, path.id)
    psi = load_state(services.store, job, path.step)["psi"]
    file = temporary_file()
    write_npy(file, psi.dtype, psi.shape, [psi])
    return file_response(file, "npy", f"{job.id}-state-{path.step}.npy", cache_control(job))


@api.get("/v1/jobs/<id>/lineage", responses=responses({200: LineageBody}, 404))
def get_lineage(path: IdPath) -> Response:
    """Get the lineage of a job: the jobs that it continues, those that continue it, and their other forks.

    Jobs whose results were deleted stay in it as records.
    """
    services = current_services()
    job = services.table.get(path.id)
    found, more = services.table.lineage(job.id, MOST_NODES)
    above = {job.id: "self"} | {one.id: "ancestor" for one in services.table.ancestors(job)}
    relations: dict[str, str] = {}
    for one in found:
        follows = relations.get(one.parent or "") in ("self", "descendant")
        relations[one.id] = above.get(one.id) or ("descendant" if follows else "other")
    items = [lineage_node(one, relations[one.id]) for one in found]
    return json_response({"id": job.id, "root": found[0].id, "items": items, "truncated": more})


def _sent(**checked: int) -> dict[str, Any]:
    """Return the body as it was sent, but for keys that a model has checked; `JobSpec` checks the others."""
    found: dict[str, Any] = request.get_json()
    return found | checked
