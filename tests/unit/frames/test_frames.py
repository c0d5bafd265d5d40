"""The frame store: what is appended, flushed and committed is what every reader finds, whatever happens in between."""

from __future__ import annotations

import dataclasses
import io
import json
import threading
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leym.contract.problems import Problem
from leym.frames import zarr_gateway
from leym.frames.checkpoint import (
    CorruptCheckpoint,
    chain_references,
    get_checkpoint,
    put_checkpoint,
    references,
    stale_checkpoints,
)
from leym.frames.layout import job_prefix
from leym.frames.reader import FrameReader
from leym.frames.states import get_state, put_state
from leym.frames.stores.base import Missing
from leym.frames.stores.open import open_store
from tests.support.frames import Writing, frame


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
        zarr_gateway.find(job.store, lambda: job.row, "psi/c/0/0/0/0")
    assert refusal.value.status == 503
    assert len(FrameReader(job.store, job.row).read("psi", 0, 4)[0]) == 4, "the other shards can be read"


def test_a_job_deleted_while_it_is_read_is_gone(small, tmp_path):
    job = Writing(open_store(tmp_path.as_uri()))
    job.steps(10)
    job.commit()
    deleted = dataclasses.replace(job.row, manifest={}, deleted_at=1.0)
    reader = FrameReader(job.store, job.row, lambda: deleted)
    frames = reader.frames("psi")
    next(frames)
    job.store.delete_prefix(job_prefix(job.row.id))
    with pytest.raises(Problem) as refusal:
        list(frames)
    assert refusal.value.status == 410


def test_partial_objects_that_readers_need_outlive_the_rewriting(small, tmp_path):
    """phase (every 2) stands at the checkpoint already, psi is written again: a commit may complete a shard of phase,
    but readers are still shown the one that was."""
    job = Writing(open_store(tmp_path.as_uri()))
    job.steps(8)
    job.commit()
    job.checkpoint = 4
    job.crash()
    job.steps(2)  # to step 6: phase has what it had, psi has not
    job.commit()
    assert job.check(FrameReader(job.store, job.row)) >= 8


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
    assert [store.get_range("a/b", *span) for span in ((3, 9), (5, 1), (9, 2), (0, 0))] == [b"45", b"", b"", b""]
    assert store.head("a/c") is None
    with pytest.raises(Missing):
        store.get("a/c")
    store.delete(["a/b", "a/c"])
    assert list(store.list("a/")) == []
    for key in (
        "../x",
        "/etc/passwd",
        "a/../../x",
        "a//b",
        "",
        ".hidden",
        "a/.hidden",
        "a\0b",
        "a" * 201,
        "a/" * 260 + "a",
    ):
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
    odd = {"file": np.float64(0.1) * np.ones(()), "psi": np.asfortranarray(psi)}
    for name, found in get_checkpoint(store, put_checkpoint(store, "odd", 1, 1, odd)).items():
        assert found.shape == odd[name].shape
        assert found.tobytes() == odd[name].tobytes()
    with pytest.raises(ValueError, match="Object arrays"):
        put_checkpoint(store, "job", 2, 21, {"psi": np.array([{}], object)})
    assert stale_checkpoints(store, "job", ref) == [old["key"]], f"{later} belongs to a later claim"
    store.put(ref["key"], store.get(ref["key"])[:-1] + b"?")
    with pytest.raises(CorruptCheckpoint):
        get_checkpoint(store, ref)
    store.delete([ref["key"]])
    with pytest.raises(CorruptCheckpoint, match="missing"):
        get_checkpoint(store, ref)


def test_a_checkpoint_names_the_one_before_it_and_none_behind_that(tmp_path):
    store, psi = open_store(tmp_path.as_uri()), {"psi": np.zeros((1, 1, 1), np.complex64)}
    first = put_checkpoint(store, "job", 1, 10, psi)
    second = put_checkpoint(store, "job", 1, 20, psi, first)
    assert put_checkpoint(store, "job", 1, 20, psi, second) == second, "the same once more is not the one before it"
    third = json.loads(json.dumps(put_checkpoint(store, "job", 2, 30, psi, second)))
    assert [ref["step"] for ref in references(third)] == [30, 20]
    assert chain_references(references(third)) == third
    assert chain_references(references(third)[1:])["step"] == 20
    assert stale_checkpoints(store, "job", third) == [first["key"]]
    for ref in references(third):
        assert get_checkpoint(store, ref)["psi"].size == 1
    assert references(None) == []
    assert chain_references([]) is None


@pytest.mark.parametrize("lost", ["gone", "cut"])
def test_a_writer_that_goes_back_needs_no_object_behind_the_step(tmp_path, lost):
    store = open_store(tmp_path.as_uri())
    job = Writing(store)
    job.steps(20)
    job.commit()
    for key in list(store.list("jobs/")):
        data = store.get(key)
        store.delete([key])
        if lost == "cut":
            store.put(key, data[: len(data) // 2])
    job.crash()  # from the beginning, for it has no checkpoint
    job.steps(30)
    job.commit()
    assert job.check(FrameReader(store, job.row)) == 30
    with pytest.raises(Problem, match="committed object") as unreadable:
        store.delete(list(store.list("jobs/")))
        job.checkpoint = 4
        job.crash()
    assert unreadable.value.status == 503


def npy(array: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


def test_a_state_is_kept_once_and_wrong_ones_are_refused_with_the_bound(tmp_path):
    store = open_store(tmp_path.as_uri())
    psi = np.ones((4, 6, 2), np.complex64)
    state = put_state(store, npy(psi))
    assert put_state(store, npy(psi)) == state
    assert np.array_equal(get_state(store, state), psi)
    bad = psi.copy()
    bad[1, 2, 0] = np.nan
    huge = npy(psi).replace(b"(4, 6, 2)", b"(4,9**9,2)")
    header_only = npy(np.zeros((0, 1024, 1000), np.complex64))
    refusals = {
        npy(psi.astype(np.complex128)): "complex128",
        npy(psi[0]): r"\[6, 2\]",
        npy(bad): r"not finite, the first at \[1, 2, 0\]",
        npy(psi)[:-1]: "383 bytes follow",
        b"no npy": "not an npy file",
        npy(np.array([{}], object), allow_pickle=True): "object",
        huge: "not an npy file",
        header_only: r"\[0, 1024, 1000\]",
    }
    for data, reason in refusals.items():
        with pytest.raises(Problem, match=reason) as refusal:
            put_state(store, data)
        assert refusal.value.status == 422
    with pytest.raises(Problem) as refusal:
        get_state(store, "0" * 64)
    assert refusal.value.status == 404


def test_a_state_stored_by_columns_is_the_same_state(tmp_path):
    store = open_store(tmp_path.as_uri())
    psi = np.arange(4 * 6 * 2).reshape(4, 6, 2).astype(np.complex64)
    found = get_state(store, put_state(store, npy(np.asfortranarray(psi))))
    assert np.array_equal(found, psi)
    assert found.flags.c_contiguous
    assert found.flags.writeable


MADE_UP = ("{1: 2, 'a': 3}", "{[]: 1}", "(", "'''", "(" * 9000, "-" * 9000 + "1", "{'descr': '<,8'}", "")


@pytest.mark.filterwarnings("ignore:Reading .* header parsing")
@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_bytes_for_a_state_are_taken_or_refused(data):
    store, good = open_store("memory://"), npy(np.ones((4, 6, 2), np.complex64))
    if data.draw(st.booleans()):
        places = st.tuples(st.integers(0, 127), st.sampled_from(b"{}[]()'\",:0L9 \n\\x#-\0\xff"))
        body = bytearray(good)
        for place, byte in data.draw(st.lists(places, min_size=1, max_size=4)):
            body[place] = byte
    else:
        text = data.draw(st.sampled_from(MADE_UP)).encode()
        version = data.draw(st.sampled_from([b"\1\0", b"\2\0", b"\3\0", b"\4\0"]))
        size = len(text).to_bytes(2 if version == b"\1\0" else 4, "little")
        body = bytearray(b"\x93NUMPY" + version + size + text + bytes(384))
    try:
        kept = put_state(store, bytes(body))
    except Problem as refusal:
        assert refusal.status == 422
    else:
        assert get_state(store, kept).size == 48


class Counting:
    """A store that counts what is read of it."""

    def __init__(self, store):
        self._store, self.reads = store, []

    def get_range(self, key, start, length):
        self.reads.append(length)
        return self._store.get_range(key, start, length)

    def __getattr__(self, name):
        return getattr(self._store, name)


def test_frames_that_follow_each_other_are_one_read_of_the_store():
    job = Writing(open_store("memory://"))
    job.steps(100)
    job.commit()
    store = Counting(job.store)
    reader = FrameReader(store, job.row)
    steps, frames = reader.read("psi", 40, 60)
    assert len(store.reads) == 2, "the index, then twenty frames"
    assert all(np.array_equal(found, frame(step)[0]["psi"]) for step, found in zip(steps, frames, strict=True))
    reader.read("psi", 40, 60, 5)
    assert len(store.reads) == 2 + 1 + 4, "the index, and each of four frames that lie apart"
