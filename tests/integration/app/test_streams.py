"""Streams of frames over WebSockets: what is stored, then what comes, exactly; and the newest first with `fps`."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from websockets.sync.client import connect

from app import frame_stream
from leym.client import Client, frame_socket
from leym.contract.member_states import MemberState, MemberStates
from leym.contract.records import JobState
from leym.frames.layout import arrays_of
from leym.frames.writer import FrameWriter
from tests.support.api import SPEC, Api, Pretender, done, value
from tests.support.relay import cutting
from tests.support.streams import STEPS, opened_stream, parsed, quick_api, read_all


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with quick_api(tmp_path) as found:
        yield found


def test_messages_of_every_dtype_have_the_recorded_values(api: Api) -> None:
    job = done(api)
    for field, every, shape, dtype in (
        ("phase", 3, (8, 12), "float32"),
        ("channel_power", 5, (8, 12, 4), "float16"),
        ("psi", 10, (8, 12, 4), "complex64"),
    ):
        d_state = api.http.get(f"/v1/jobs/{job}").json["d_state"]
        recorded = (*shape[:2], d_state) if len(shape) == 3 else shape
        low, high = (-np.pi, np.pi) if field == "phase" else (0.0, 1.0)
        for encoding in ("f32", "f16", "u8"):
            if field == "psi" and encoding == "u8":
                continue
            for n in (1, 3):
                with opened_stream(api, job, field, dtype=encoding, downsample=n) as stream:
                    frames, last = read_all(stream)
                assert [header["step"] for header, _ in frames] == list(range(0, 31, every))
                assert last == {"type": "end", "state": "succeeded", "step": 30}
                for header, found in frames:
                    wanted = value(field, header["step"], recorded, dtype)[::n, ::n]
                    if field == "psi":
                        wanted = np.stack([wanted.real, wanted.imag], -1)
                    else:
                        assert header["range"] == [low, high]
                    assert (header["job"], header["field"]) == (job, field)
                    if encoding == "u8":
                        clipped = np.clip(wanted.astype(float), low, high)
                        shown = low + found / 255 * (high - low)
                        assert np.abs(shown - clipped).max() <= (high - low) / 255 * 0.51
                    else:
                        assert np.array_equal(found, wanted.astype(encoding.replace("f", "float")))


def test_a_viewer_sees_what_is_stored_then_what_comes(api: Api) -> None:
    job = api.submit()
    worker = Pretender(api, job)
    worker.run(10)
    worker.commit()
    with opened_stream(api, job, start=4) as stream:
        assert [parsed(stream.recv(60))[0]["step"] for _ in range(2)] == [6, 9]
        worker.run(20)
        worker.commit()
        assert [parsed(stream.recv(60))[0]["step"] for _ in range(3)] == [12, 15, 18]
        with pytest.raises(TimeoutError):
            stream.recv(0.05)
        worker.run(25)
        worker.finish("failed", {"title": "Diverged", "detail": "NaN", "status": 422})
        frames, last = read_all(stream)
    assert [header["step"] for header, _ in frames] == [21, 24]
    assert last == {"type": "end", "state": "failed", "step": 25}
    assert stream.close_code == 1000


def test_connections_cut_a_hundred_times_give_exactly_the_recording(api: Api) -> None:
    """Cut at random bytes, in the middle of handshakes and messages."""
    job = api.submit(steps=900, record=[{"field": "phase", "every": 3}], observe=None)
    worker = Pretender(api, job)

    def work() -> None:
        for step in range(0, 900, 20):
            worker.run(step)
            worker.commit()
            time.sleep(0.02)
        worker.run(900)
        worker.finish()

    thread = threading.Thread(target=work)
    thread.start()
    with cutting(api.url, cuts=100, most=2500) as relay, Client(relay.url) as client:
        frame_socket.TRIES, tries = 1000, frame_socket.TRIES
        try:
            seen = list(client.job(job).live("phase"))
        finally:
            frame_socket.TRIES = tries
        assert relay.cuts >= 95  # some end before their last byte
    thread.join()
    assert [step for step, _ in seen] == list(range(0, 901, 3))
    for step, frame in seen:
        assert np.array_equal(frame, value("phase", step, (8, 12), "float32"))


def test_a_slow_reader_is_shown_the_newest_frame(api: Api) -> None:
    """The job stores hundreds of frames while the reader sleeps, far fewer bytes than the buffers of a connection."""
    job = api.submit(steps=600, record=[{"field": "phase", "every": 1}], observe=None)
    worker = Pretender(api, job)
    worker.run(2)
    worker.commit()
    with opened_stream(api, job, fps=60) as stream:
        first = parsed(stream.recv(60))[0]["step"]
        seen = [first]
        for until in (100, 200, 300, 599):
            worker.run(until)
            worker.commit()
            while seen[-1] < until:  # the newest is reached with few frames in between, however many were stored
                seen.append(parsed(stream.recv(60))[0]["step"])
        assert len(seen) < 30
        worker.run(600)
        worker.finish()
        frames, last = read_all(stream)
    seen += [header["step"] for header, _ in frames]
    assert (seen[0], seen[-1]) == (0, 600)
    assert seen == sorted(set(seen))
    assert last["state"] == "succeeded"


def test_nothing_is_queued_for_a_reader_that_does_not_read(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that answers no ping gets a handful of frames; when it answers again, the newest one."""
    job = api.submit(steps=500, record=[{"field": "phase", "every": 1}], observe=None)
    worker = Pretender(api, job)
    sent: list[int] = []
    encode = frame_stream.FrameStream._send_committed

    def counted(self: Any, *arguments: Any) -> bool:
        before = self._next
        going_on = encode(self, *arguments)
        if self._next != before:
            sent.append(self._next - 1)
        return going_on

    monkeypatch.setattr(frame_stream.FrameStream, "_send_committed", counted)
    worker.run(0)
    worker.commit()
    release = threading.Event()
    with opened_stream(api, job, fps=60) as stream:
        receive = stream.protocol.recv_frame
        stream.protocol.recv_frame = lambda frame: (release.wait(60), receive(frame))
        for until in range(1, 400, 4):
            worker.run(until)
            worker.commit()
            time.sleep(0.004)
        before = list(sent)
        release.set()
        worker.run(500)
        worker.finish()
        steps = [header["step"] for header, _ in read_all(stream)[0]]
    assert 1 <= len(before) <= frame_stream.UNDERWAY + 1  # the first may have been answered before
    assert (steps[0], steps[-1]) == (0, 500)
    assert len(steps) <= frame_stream.UNDERWAY + 8


def test_viewers_of_one_job_cost_one_reading_of_the_store(api: Api) -> None:
    job = api.submit()
    worker = Pretender(api, job)
    worker.run(0)
    worker.commit()
    with ExitStack() as stack:
        streams = [stack.enter_context(opened_stream(api, job)) for _ in range(12)]
        for step in STEPS[1:]:
            worker.run(step)
            worker.commit()
        worker.finish()
        for stream in streams:
            frames, _ = read_all(stream)
            assert [header["step"] for header, _ in frames] == STEPS
    assert api.services.frame_cache.reads == len(STEPS)


def test_the_cache_stays_within_its_limit_and_changes_nothing(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    job = done(api)
    monkeypatch.setattr(api.services.frame_cache, "_limit", 1500)
    for _ in range(2):
        with opened_stream(api, job) as stream:
            assert [header["step"] for header, _ in read_all(stream)[0]] == STEPS
        assert api.services.frame_cache._bytes <= 1500


def test_members_of_sweeps_and_shared_links_stream_too(api: Api) -> None:
    base = SPEC | {"record": [{"field": "phase", "every": 10}], "observe": None}
    sweep = api.http.post("/v1/sweeps", json={"base": base, "axes": {"seed": [2, 4]}}).json["id"]
    run_block(api, sweep)
    url = f"ws{api.url.removeprefix('http')}"
    job = done(api)
    link = api.http.post(f"/v1/jobs/{job}/links", json={}).json["frames"].removesuffix("/frames")
    with connect(f"{url}{link}/stream?field=phase", proxy=None, origin="https://elsewhere.example") as stream:
        assert [header["step"] for header, _ in read_all(stream)[0]] == STEPS
    with connect(f"{url}/v1/sweeps/{sweep}/members/1/stream?field=phase", proxy=None) as stream:
        frames, last = read_all(stream)
    assert last == {"type": "end", "state": "succeeded", "step": 30}
    for (header, found), step in zip(frames, range(0, 31, 10), strict=True):
        assert header["step"] == step
        assert np.array_equal(found, value("phase", step + 1, (8, 12), "float32"))


def run_block(api: Api, sweep: str) -> None:
    """Run the only block of a sweep; what a member records is told apart by its index."""
    [row] = api.table.blocks(sweep)
    claim = api.table.claim(row.id, "pretender", 60, 9)
    assert claim is not None
    states = MemberStates.new(2)
    arrays = arrays_of(claim.job)
    writer = FrameWriter(api.store, row.id, claim.epoch, arrays, {}, {}, members=2, shown=states.step)
    for step in range(0, 31, 10):
        phase = np.stack([value("phase", step + index, (8, 12), "float32") for index in range(2)])
        writer.append(step, np.arange(2), {"phase": phase}, {})
    states.step[:] = 30
    states.end(np.arange(2), MemberState.SUCCEEDED, stopped=1)
    api.table.finish(row.id, claim.epoch, JobState.SUCCEEDED, step=60, manifest=writer.flush(), members=states)
