"""Start states that users upload."""

from __future__ import annotations

import io

from flask import Response, request
from numpy.lib import format as npy

from app.models import StateBody
from app.openapi import BYTES, OCTETS, answers, raw_body, router
from app.services import services
from app.views import json_answer
from leym.contract.spec import LIMITS
from leym.frames.states import put_state

api = router("states", "Start states of your own")


@api.post("/v1/states", responses=answers({201: StateBody}, 413, 507))
def upload_state() -> Response:
    """Upload a start state.

    The body is an npy file, complex64 [H, W, d], all finite. Its id is its digest: the same file has the same id. It is
    kept for LEYM_STATE_TTL_S, and as long as a job that starts from it has not ended.
    """
    services().disk.check()
    request.max_content_length = LIMITS.upload_bytes
    data = request.get_data(cache=False)
    state = put_state(services().store, data)
    return json_answer({"id": state, "shape": _shape(data)}, 201)


raw_body(api, "/v1/states", {OCTETS: BYTES}, "An npy file")


def _shape(data: bytes) -> list[int]:
    file = io.BytesIO(data)
    read = npy.read_array_header_1_0 if npy.read_magic(file) == (1, 0) else npy.read_array_header_2_0
    return [int(n) for n in read(file)[0]]
