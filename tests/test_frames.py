"""The frame store: what is appended, flushed and committed is what every reader finds, whatever happens in between."""

from __future__ import annotations

import dataclasses
import io
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from leym.frames import gateway, pictures
from leym.frames.checkpoint import CorruptCheckpoint, get_checkpoint, put_checkpoint, stale_checkpoints
from leym.frames.layout import arrays_of, job_prefix
from leym.frames.reader import FrameReader
from leym.frames.states import get_state, put_state
from leym.frames.store import Missing, open_store
from leym.frames.writer import FrameWriter
from leym.problems import Problem
from leym.spec import JobSpec

SPEC = {
    "law": "tiny",
    "grid": [4, 6],
    "steps": 10_000,
    "record": [{"field": "psi", "every": 1}, {"field": "phase", "every": 2, "dtype": "float16"}],
    "observe": {"every": 1, "names": ["activity", "coherence"]},
}


@dataclass(frozen=True)
class Row:
    """A row of the job table, as far as this package looks."""

    id: str = "j" * 26
    state: str = "running"
    step: int = -1
    spec: dict[str, Any] = field(default_factory=lambda: JobSpec.model_validate(SPEC).model_dump(mode="json"))
    law: str = "tiny@" + "0" * 64
    precision: str = "fp32"
    d_state: int = 3
    manifest: dict[str, Any] = field(default_factory=dict)
    deleted_at: float | None = None


def frame(step: int) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """What a run records at a step: the same whenever it is run again."""
    rng = np.random.default_rng(step)
    psi = (rng.normal(size=(4, 6, 3)) + 1j * rng.normal(size=(4, 6, 3))).astype(np.complex64)
    fields = {"psi": psi}
    if step % 2 == 0:
        fields["phase"] = rng.normal(size=(4, 6)).astype(np.float16)
    return fields, {"activity": step / 7, "coherence": -float(step)}


class Writing:
    """A job that is being written: appends, flushes, commits, and claims of another worker."""

    def __init__(self, store):
        self.store, self.row, self.epoch = store, Row(), 1
        self.arrays = arrays_of(self.row)
        self.writer = FrameWriter(store, self.row.id, 1, self.arrays, None)
        self.at, self.checkpoint = -1, -1

    def steps(self, n: int) -> None:
        for _ in range(n):
            self.at += 1
            self.writer.append(self.at, *frame(self.at))

    def commit(self) -> None:
        manifest = json.loads(json.dumps(self.writer.flush()))
        self.row = dataclasses.replace(self.row, manifest=manifest, step=max(self.at, self.row.step))
        self.store.delete(self.writer.superseded())

    def crash(self) -> None:
        """Another worker goes on from the checkpoint."""
        self.epoch += 1
        self.writer = FrameWriter(self.store, self.row.id, self.epoch, self.arrays, self.row.manifest)
        self.writer.rewind(self.checkpoint)
        self.at = self.checkpoint

    def check(self, reader: FrameReader) -> int:
        """Everything that readers are shown is right; returns how many frames of psi."""
        steps, psi = reader.read("psi")
        for step, found in zip(steps.tolist(), psi, strict=True):
            assert np.array_equal(found, frame(step)[0]["psi"])
        steps2, phase = reader.read("phase")
        for step, found in zip(steps2.tolist(), phase, strict=True):
            assert np.array_equal(found, frame(step)[0]["phase"])
        at, numbers = reader.observables()
        assert numbers["activity"].tolist() == [step / 7 for step in at.tolist()]
        assert len(at) == len(steps)
        return len(steps)


@pytest.fixture
def small(monkeypatch):
    """Shards of four frames, so that a short job has many."""
    monkeypatch.setattr("leym.frames.layout.SHARD_FRAMES", 4)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["1", "2", "5", "commit", "checkpoint", "crash", "lost"]), max_size=25))
def test_readers_see_a_growing_prefix_through_any_order_of_commits_and_crashes(doings):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("leym.frames.layout.SHARD_FRAMES", 4)
        job = Writing(open_store("memory://"))
        shown = 0
        for doing in doings:
            if doing.isdigit():
                job.steps(int(doing))
            elif doing == "commit":
                job.commit()
            elif doing == "checkpoint":
                job.commit()
                job.checkpoint = job.at
            elif doing == "crash":
                job.crash()
            else:  # written, but the commit never came
                job.writer.flush()
                job.crash()
            now = job.check(FrameReader(job.store, job.row))
            assert now >= shown, "what was visible must stay visible"
            shown = now
        job.crash()
        job.steps(max(0, 40 - job.at))
        job.commit()
        assert job.check(FrameReader(job.store, job.row)) == 41
        kept = set(job.store.list(job_prefix(job.row.id)))
        assert len(kept) == 11 + 6 + 1, "one object per shard is left"


def test_the_manifest_does_not_grow_with_the_job(small, tmp_path):
    job = Writing(open_store(tmp_path.as_uri()))
    job.steps(10)
    job.commit()
    before = len(json.dumps(job.row.manifest))
    job.steps(400)
    job.commit()
    assert len(json.dumps(job.row.manifest)) <= before + 12


def test_a_partly_filled_shard_keeps_its_frames_at_their_places(tmp_path):
    job = Writing(open_store(tmp_path.as_uri()))
    seen: list[bytes] = []
    for _ in range(4):
        job.steps(3)
        job.writer.flush()
        [newest] = [k for k in job.store.list(f"{job_prefix(job.row.id)}psi/") if k.endswith(f".{job.at + 1}")]
        seen.append(job.store.get(newest))
    index = 16 * job.arrays[0].per_shard + 4
    for earlier, later in pairwise(seen):
        assert later.startswith(earlier[:-index])


def test_what_is_missing_or_damaged_is_said_and_never_shown(small, tmp_path):
    job = Writing(open_store(tmp_path.as_uri()))
    job.steps(10)
    job.commit()
    key = sorted(job.store.list(f"{job_prefix(job.row.id)}psi/"))[1]
    whole = job.store.get(key)
    for broken in (whole[:-1], whole[: len(whole) // 2], b"", whole[:40] + b"?" + whole[41:]):
        job.store.put(key, broken)
        with pytest.raises(Problem) as refusal:
            FrameReader(job.store, job.row).read("psi")
        assert refusal.value.status == 503
    job.store.delete([key])
    with pytest.raises(Problem, match="missing") as refusal:
        FrameReader(job.store, job.row, lambda: job.row).read("psi")
    assert refusal.value.status == 503
    with pytest.raises(Problem) as refusal:
        gateway.answer(job.store, lambda: job.row, "psi/c/1/0/0/0")
    assert refusal.value.status == 503
    assert len(FrameReader(job.store, job.row).read("psi", 0, 4)[0]) == 4, "the other shards can be read"


def test_wrong_frames_are_refused_before_anything_is_kept(tmp_path):
    job = Writing(open_store(tmp_path.as_uri()))
    fields, numbers = frame(0)
    for wrong in ({"psi": fields["psi"]}, fields | {"psi": fields["psi"].astype(np.complex128)}):
        with pytest.raises(ValueError, match=r"phase|complex64"):
            job.writer.append(0, wrong, numbers)
    with pytest.raises(ValueError, match="next one is 0"):
        job.writer.append(2, *frame(2))
    job.steps(3)
    job.commit()
    assert job.check(FrameReader(job.store, job.row)) == 3


@pytest.mark.parametrize("url", ["file", "memory"])
def test_a_store_keeps_whole_objects_and_nothing_outside_itself(url, tmp_path):
    store = open_store((tmp_path / "store").as_uri() if url == "file" else "memory://")
    store.put("a/b", b"12345")
    assert (store.get("a/b"), store.get_range("a/b", 1, 3), store.head("a/b")) == (b"12345", b"234", 5)
    assert store.head("a/c") is None
    with pytest.raises(Missing):
        store.get("a/c")
    store.delete(["a/b", "a/c"])
    assert list(store.list("a/")) == []
    for key in ("../x", "/etc/passwd", "a/../../x", "a//b", "", ".hidden", "a/.hidden", "a\0b", "a" * 600):
        with pytest.raises(Problem, match="object key"):
            store.put(key, b"")


def test_nobody_sees_half_an_object_of_a_file_store(tmp_path):
    store = open_store(tmp_path.as_uri())
    versions = [bytes([i]) * 200_000 for i in range(50)]
    store.put("x/y", versions[0])
    stop, torn = threading.Event(), []

    def read():
        while not stop.is_set():
            found = store.get("x/y")
            if len(set(found)) != 1 or len(found) != 200_000:
                torn.append(found)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for version in versions:
        store.put("x/y", version)
    stop.set()
    for reader in readers:
        reader.join()
    assert not torn
    assert [p.name for p in (tmp_path / "x").iterdir()] == ["y"]


def test_a_checkpoint_comes_back_bit_for_bit_or_not_at_all(tmp_path):
    store = open_store(tmp_path.as_uri())
    psi = np.array([[[1 + 2j, np.float32(1e-45)]]], np.complex64)
    old = put_checkpoint(store, "job", 1, 10, {"psi": psi})
    ref = json.loads(json.dumps(put_checkpoint(store, "job", 2, 20, {"psi": psi})))
    later = put_checkpoint(store, "job", 3, 15, {"psi": psi})
    assert get_checkpoint(store, ref)["psi"].tobytes() == psi.tobytes()
    assert stale_checkpoints(store, "job", ref) == [old["key"]], f"{later} belongs to a later claim"
    store.put(ref["key"], store.get(ref["key"])[:-1] + b"?")
    with pytest.raises(CorruptCheckpoint):
        get_checkpoint(store, ref)
    store.delete([ref["key"]])
    with pytest.raises(CorruptCheckpoint, match="missing"):
        get_checkpoint(store, ref)


def npy(array: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


def test_a_state_is_kept_once_and_wrong_ones_are_refused_with_the_bound(tmp_path):
    store = open_store(tmp_path.as_uri())
    psi = np.ones((4, 6, 2), np.complex64)
    state = put_state(store, npy(psi))
    assert put_state(store, npy(psi)) == state and np.array_equal(get_state(store, state), psi)
    bad = psi.copy()
    bad[1, 2, 0] = np.nan
    huge = npy(psi).replace(b"(4, 6, 2)", b"(4,9**9,2)")
    header_only = npy(np.zeros((0, 1024, 1000), np.complex64))
    refusals = {
        npy(psi.astype(np.complex128)): "complex128",
        npy(psi[0]): r"\[6, 2\]",
        npy(bad): r"not finite, the first at \[1, 2, 0\]",
        npy(psi)[:-1]: "383 bytes follow",
        b"no npy": "no npy file",
        npy(np.array([{}], object), allow_pickle=True): "object",
        huge: "no npy file",
        header_only: r"\[0, 1024, 1000\]",
    }
    for data, reason in refusals.items():
        with pytest.raises(Problem, match=reason) as refusal:
            put_state(store, data)
        assert refusal.value.status == 422
    with pytest.raises(Problem) as refusal:
        get_state(store, "0" * 64)
    assert refusal.value.status == 404


@pytest.fixture
def served(small, tmp_path):
    """The gateway behind a real HTTP server."""
    job = Writing(open_store(tmp_path.as_uri()))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            try:
                found = gateway.answer(
                    job.store,
                    lambda: job.row,
                    self.path.removeprefix("/store.zarr/"),
                    method=self.command,
                    range_header=self.headers.get("Range"),
                    if_none_match=self.headers.get("If-None-Match"),
                )
                status, headers, body = found.status, found.headers, found.body
            except Problem as problem:
                status, headers, body = problem.status, {"Content-Length": "0"}, b""
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    job.url = f"http://127.0.0.1:{server.server_port}/store.zarr"
    yield job
    server.shutdown()
    server.server_close()


def test_zarr_and_xarray_read_a_job_that_is_being_written(served):
    import xarray
    import zarr

    served.steps(2)
    served.commit()
    over = threading.Event()

    def write():
        for i in range(60):
            served.steps(2)
            served.commit()
            if i == 30:
                served.checkpoint = served.at - 20
                served.crash()
        over.set()

    threading.Thread(target=write, daemon=True).start()
    lengths = set()
    while True:
        last = over.is_set()
        group = zarr.open_group(served.url, mode="r")
        psi = group["psi"][:]
        for step, found in enumerate(psi):
            assert np.array_equal(found, frame(step)[0]["psi"]), f"step {step}"
        assert np.isfinite(group["activity_mean"][:]).all()
        lengths.add(len(psi))
        if last:
            break
    assert len(lengths) > 1
    with xarray.open_zarr(served.url) as found:
        assert found["psi"].dims == ("step_1", "y", "x", "channel")
        assert found["phase"].dims == ("step_2", "y", "x")
        assert found["step_2"].values.tolist() == list(range(0, len(found["phase"]) * 2, 2))
        assert found["phase"].attrs["units"] == "rad" and found["phase"].dtype == np.float16
        assert found.attrs["law"] == served.row.law and found.attrs["spec"]["steps"] == 10_000
        assert np.array_equal(found["coherence_mean"].values, -np.arange(len(found["psi"]), dtype=float))


def test_the_gateway_answers_ranges_tags_and_keys_as_http_does(served):
    served.steps(6)
    served.commit()
    ask = lambda path, **how: gateway.answer(served.store, lambda: served.row, path, **how)  # noqa: E731
    whole = ask("psi/c/0/0/0/0")
    head = ask("psi/c/0/0/0/0", method="HEAD")
    assert head.body == b"" and head.headers == whole.headers
    size = len(whole.body)
    for text, start, stop in (("0-9", 0, 10), ("5-", 5, size), ("-7", size - 7, size), (f"0-{size * 2}", 0, size)):
        part = ask("psi/c/0/0/0/0", range_header=f"bytes={text}")
        assert part.status == 206 and part.body == whole.body[start:stop]
        assert part.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{size}"
    assert ask("psi/c/0/0/0/0", range_header=f"bytes={size}-").status == 416
    assert ask("psi/c/0/0/0/0", if_none_match=whole.headers["ETag"]).status == 304
    partial = ask("psi/c/1/0/0/0").headers["ETag"]
    served.steps(1)
    served.commit()
    assert ask("psi/c/1/0/0/0", if_none_match=partial).status == 200
    for path in ("psi/c/2/0/0/0", "psi/c/0/0/0", "psi/c/0/1/0/0", "psi/c/-1/0/0/0", "nothing/zarr.json", "../x", ""):
        with pytest.raises(Problem) as refusal:
            ask(path)
        assert refusal.value.status == 404, path
    served.row = dataclasses.replace(served.row, deleted_at=1.0)
    with pytest.raises(Problem) as refusal:
        ask("zarr.json")
    assert refusal.value.status == 410


def test_pictures_show_what_they_say():
    phase = np.array([[[0.0, np.pi / 2], [np.pi, -np.pi]]], np.float32).repeat(8, 1).repeat(8, 2)
    rgb = pictures.render("phase", phase)
    assert rgb.shape == (1, 16, 16, 3) and rgb.dtype == np.uint8
    assert np.abs(rgb[0, 15, 0].astype(int) - rgb[0, 15, 15]).max() <= 8, "the colours of pi and -pi meet"
    entropy = pictures.render("channel_entropy", np.array([[[0.0, 1.0]]], np.float32))
    assert entropy[0, 0, 0].tolist() == [68, 1, 84] and entropy[0, 0, 1].tolist() == [253, 231, 37]  # viridis' ends
    power = np.zeros((1, 2, 2, 3), np.float32)
    power[0, 0, :, 0] = power[0, 1, :, 1] = 1
    red, green = pictures.render("channel_power", power)[0, :, 0]
    assert red[0] == 255 and green[1] == 255 and red.argmax() != green.argmax()
    psi = np.array([[[[1.0], [-1.0]], [[0.01], [0.01]]]], np.complex64)
    rgb = pictures.render("psi", psi)[0].astype(int)
    assert rgb[0, 0].argmax() == 0 and rgb[0, 1].argmin() == 0, "red at phase 0, cyan at pi"
    assert rgb[1].max() < 5, "dark where the sum is small"
    for bad in (3, -1):
        with pytest.raises(Problem, match="channels 0 to 2"):
            pictures.render("channel_power", power, bad)
    with pytest.raises(Problem, match="no channels"):
        pictures.render("phase", phase, 0)


def test_files_of_pictures_hold_every_frame():
    frames = np.zeros((5, 8, 10, 3), np.uint8)
    frames[np.arange(5), np.arange(5), 0] = 255
    for kind in ("gif", "webp"):
        with Image.open(io.BytesIO(pictures.encode(frames, kind, fps=10, scale=2))) as found:
            assert found.size == (20, 16) and found.n_frames == 5 and found.format == kind.upper()
            for i in range(5):
                found.seek(i)
                pixels = np.asarray(found.convert("RGB"))
                assert pixels[2 * i, 0].min() > 200 and pixels[2 * ((i + 1) % 5), 0].max() < 50
    with Image.open(io.BytesIO(pictures.encode(frames, "png", scale=1))) as strip:
        assert strip.size == (5 * 10 + 4 * pictures.GAP, 8)
    with Image.open(io.BytesIO(pictures.encode(frames[:1], "png"))) as one:
        assert one.size == (250, 200)
    with pytest.raises(Problem, match="pixels; at most"):
        pictures.encode(np.zeros((100, 64, 64, 3), np.uint8), "gif", scale=64)
    with pytest.raises(Problem, match="known: png, gif, webp"):
        pictures.encode(frames, "bmp")
