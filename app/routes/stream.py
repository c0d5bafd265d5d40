"""Frames of a job over a WebSocket."""

from __future__ import annotations

from flask import Response

from app import metrics
from app.concurrency_limits import acquire_stream
from app.frame_messages import Encoding
from app.frame_stream import FrameStream
from app.lookup import find_results
from app.models.base import IdPath, MemberPath
from app.models.results import StreamQuery
from app.openapi import responses, router
from app.services import Services, current_services
from app.websocket import upgrade

api = router("stream", "Frames as they are recorded, over a WebSocket")

RESPONSES = responses(
    {
        101: "The messages follow. A binary message is one frame: the length of its header (uint32, little-endian), the"
        " header (JSON: job, field, step, shape, dtype, range) and the numbers. Text messages are JSON and the last:"
        ' {"type": "end", "state", "step"} when the job has ended and all frames were sent, or {"type": "error"} with'
        " the members of a problem."
    },
    404,
    410,
    426,
)


@api.get("/v1/jobs/<id>/stream", responses=RESPONSES)
def stream_frames(path: IdPath, query: StreamQuery) -> Response:
    """Watch a field of a job over a WebSocket.

    The frames from `start` on that are stored come first, then new ones, without gap or repeat. With `fps`, the newest
    frame comes next, and those in between are skipped; the first and the last one always come.
    """
    return stream_response(current_services(), path.id, query)


@api.get("/v1/sweeps/<id>/members/<index>/stream", responses=RESPONSES)
def stream_member_frames(path: MemberPath, query: StreamQuery) -> Response:
    """Watch a field of a member of a sweep over a WebSocket, as of a job."""
    services = current_services()
    return stream_response(services, services.table.member(path.id, path.index).id, query)


def stream_response(services: Services, job_id: str, query: StreamQuery) -> Response:
    """Upgrade the request to a stream of frames, as `stream_frames` does for the services of any project."""
    cursor = services.events.cursor(job_id)  # before the row is read, so that no wake-up is lost in between
    job, reader = find_results(services, job_id)
    reader.steps(query.field)  # raises 404 if the field is not recorded
    encoding = Encoding(query.field, query.dtype, query.downsample)
    encoding.check()
    response = upgrade(FrameStream(services, job, encoding, query.start, query.fps, cursor).serve)
    response.call_on_close(acquire_stream())
    metrics.STREAMS.inc()
    return response
