"""The SDK for asyncio: written from the synchronous classes, with their retries, keys and resumable streams."""

from __future__ import annotations

import asyncio
import inspect
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from leym.client import AsyncClient, AsyncJob, AsyncSweep, Client, Job, Sweep
from tests.support.paths import ROOT
from tests.support.scripted_server import JOB, Scripted, answers, hang_up, streams

FRAMES = [f"event: frame\nid: {step}\ndata: {json.dumps({'step': step, 'fields': []})}\n\n" for step in (0, 10, 20)]
END = f"event: end\nid: 20\ndata: {json.dumps({'state': 'succeeded', 'step': 20})}\n\n"
DONE = JOB | {"state": "succeeded", "step": 20, "steps": 20}


def test_the_asynchronous_classes_are_those_that_the_script_writes() -> None:
    command = [sys.executable, ROOT / ".ci" / "async_client.py", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("ours", "theirs"), [(Client, AsyncClient), (Job, AsyncJob), (Sweep, AsyncSweep)])
def test_the_methods_have_the_same_arguments_and_each_is_named(ours: type, theirs: type) -> None:
    for name, method in inspect.getmembers(ours, inspect.isfunction):
        if name.startswith("_"):
            continue
        parameters = inspect.signature(method).parameters
        assert list(inspect.signature(getattr(theirs, name)).parameters) == list(parameters), name
        kinds = {parameter.kind for key, parameter in parameters.items() if key != "jobs"}
        assert not kinds & {inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL}, name


def test_lost_answers_are_repeated_with_one_key(scripted: Callable[..., Scripted]) -> None:
    server = scripted(hang_up, answers(503, {"title": "Busy"}), answers(202, JOB), answers(200, DONE))

    async def run() -> AsyncJob:
        async with AsyncClient(server.url) as client:
            job = await client.submit("aurora", steps=20, seed=7)
            assert await job.wait(60) is job
            return job

    job = asyncio.run(run())
    assert (job.id, job.state, job.step) == (JOB["id"], "succeeded", 20)
    sent = [headers["idempotency-key"] for method, _, headers, _ in server.requests if method == "POST"]
    assert len(sent) == 3
    assert len(set(sent)) == 1


def test_a_cut_stream_resumes_and_brings_each_frame_once(scripted: Callable[..., Scripted]) -> None:
    server = scripted(
        answers(200, JOB),
        streams(FRAMES[0] + FRAMES[1], cut=True),
        hang_up,
        streams(FRAMES[2] + END),
        answers(200, DONE),
    )

    async def run() -> list[int]:
        async with AsyncClient(server.url) as client:
            job = await client.job(JOB["id"])
            return [frame.step async for frame in job.stream()]

    assert asyncio.run(run()) == [0, 10, 20]
    assert [headers.get("last-event-id") for _, _, headers, _ in server.requests][1:4] == [None, "10", "10"]


def test_the_loop_goes_on_while_a_request_waits_and_a_cancelled_one_does_not_hold_it(
    scripted: Callable[..., Scripted],
) -> None:
    answered = threading.Event()

    def late(handler: Any) -> None:
        answered.wait(60)
        answers(200, JOB)(handler)

    server = scripted(late)

    async def run() -> int:
        turns = 0
        async with AsyncClient(server.url) as client:
            request = asyncio.create_task(client.job(JOB["id"]))
            while not server.requests or turns < 10:
                await asyncio.sleep(0.001)
                turns += 1
            request.cancel()
            with pytest.raises(asyncio.CancelledError):
                await request
            answered.set()
        return turns

    assert asyncio.run(run()) >= 10


def test_leaving_a_stream_early_closes_it(scripted: Callable[..., Scripted]) -> None:
    closed = threading.Event()

    def endless(handler: Any) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream")
        handler.end_headers()
        handler.wfile.write(FRAMES[0].encode())
        try:
            while True:
                handler.wfile.write(FRAMES[1].encode())
                handler.wfile.flush()
                time.sleep(0.01)
        except OSError:  # the client has gone
            closed.set()

    server = scripted(answers(200, JOB), endless)

    async def run() -> None:
        async with AsyncClient(server.url) as client:
            stream = (await client.job(JOB["id"])).stream()
            async for _ in stream:
                break
            await stream.aclose()  # type: ignore[attr-defined]

    asyncio.run(run())
    assert closed.wait(60)
