"""Start states that users upload."""

from __future__ import annotations

import io

from flask import Response, request
from numpy.lib import format as npy

from app.models.results import StateBody
from app.openapi import BYTES, OCTETS, describe_raw_body, responses, router
from app.services import current_services
from app.views import json_response
from leym.contract.spec import LIMITS
from leym.frames.states import put_state

api = router("states", "Uploaded start states")


@api.post("/v1/states", responses=responses({201: StateBody}, 413, 507))
def upload_state() -> Response:
    """Upload a start state.

    The body is an npy file of finite numbers, complex64 [H, W, d]. The state's id is its digest, so the same file has
    the same id. The state is kept for LEYM_STATE_TTL_S, and as long as a job that starts from it has not ended.
    """
    services = current_services()
    services.disk.check()
    request.max_content_length = LIMITS.upload_bytes
    data = request.get_data(cache=False)
    state_id = put_state(services.store, data)
    return json_response({"id": state_id, "shape": _shape(data)}, 201)


describe_raw_body(api, "/v1/states", {OCTETS: BYTES}, "An npy file")


def _shape(data: bytes) -> list[int]:
    """Return the shape in the header of an npy file."""
    file = io.BytesIO(data)
    read = npy.read_array_header_1_0 if npy.read_magic(file) == (1, 0) else npy.read_array_header_2_0
    return [int(n) for n in read(file)[0]]
