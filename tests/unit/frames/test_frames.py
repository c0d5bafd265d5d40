"""The frame store: what is appended, flushed and committed is what every reader finds, whatever happens in between."""

from __future__ import annotations

import dataclasses
import json
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leym.contract.problems import Problem
from leym.frames import zarr_gateway
from leym.frames.layout import job_prefix
from leym.frames.reader import FrameReader
from leym.frames.stores.open import open_store
from tests.support.frames import Writing, append_one, frame


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
            append_one(job.writer, 0, wrong, numbers)
    with pytest.raises(ValueError, match="next one is 0"):
        append_one(job.writer, 2, *frame(2))
    job.steps(3)
    job.commit()
    assert job.check(FrameReader(job.store, job.row)) == 3


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
    store.delete(list(store.list("jobs/")))
    job.checkpoint = 4
    with pytest.raises(Problem, match="committed object") as unreadable:
        job.crash()
    assert unreadable.value.status == 503


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


def as_version_1(manifest, per_shard):
    """The manifest that version 0.1.0 wrote of the same objects; unchanged where it would have written others."""

    def part(arrays):
        found = {}
        for name, array in arrays.items():
            if array["whole"] * per_shard[name] + sum(n for _, n in array["open"].values()) != array["committed"]:
                raise NotImplementedError
            partial = [{"shard": int(s), "epoch": e, "frames": n} for s, (e, n) in array["open"].items()]
            found[name] = {"committed": array["committed"], "runs": array["runs"], "partial": (partial or [None])[0]}
        return found

    try:
        parts = {name: part(manifest[name]) for name in ("arrays", "next") if name in manifest}
    except NotImplementedError:
        return manifest
    return {"version": 1, **parts, "attributes": manifest["attributes"]}


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(["1", "2", "5", "commit", "checkpoint", "crash"]), max_size=25))
def test_manifests_of_version_1_are_read_and_continued(doings):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("leym.frames.layout.SHARD_FRAMES", 4)
        job, shown = Writing(open_store("memory://")), 0
        per_shard = {array.name: array.per_shard for array in job.arrays}
        for doing in doings:
            if doing.isdigit():
                job.steps(int(doing))
            elif doing == "crash":
                job.crash()
            else:
                job.commit()
                job.row = dataclasses.replace(job.row, manifest=as_version_1(job.row.manifest, per_shard))
                job.checkpoint = job.at if doing == "checkpoint" else job.checkpoint
            now = job.check(FrameReader(job.store, job.row))
            assert now >= shown
            shown = now
        job.crash()
        job.steps(max(0, 40 - job.at))
        job.commit()
        assert job.check(FrameReader(job.store, job.row)) == 41
        assert len(set(job.store.list(job_prefix(job.row.id)))) == 11 + 6 + 1
