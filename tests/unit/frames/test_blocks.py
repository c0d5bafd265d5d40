"""Frames of the members of a block: groups at different steps, resumes on other devices, and few objects."""

from __future__ import annotations

import dataclasses
import json
import os
from types import SimpleNamespace

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec, ShardingCodec

from leym.contract.problems import Problem
from leym.contract.records import JobState
from leym.frames.garbage import referenced_bytes, referenced_keys
from leym.frames.inspection import find_damage
from leym.frames.last import last_observables, last_state
from leym.frames.layout import arrays_of, job_prefix
from leym.frames.manifest import committed_arrays
from leym.frames.open_shard import OpenShard
from leym.frames.reader import FrameReader
from leym.frames.stores.open import open_store
from leym.frames.writer import FrameWriter
from tests.support.blocks import RECORDED, WritingBlock, block_row, fields_at, member_view, numbers_at

MEMBERS = 7
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", 100))
PLACES = st.sets(st.integers(0, MEMBERS - 1), min_size=1)
DOING = st.one_of(
    st.tuples(st.just("step"), PLACES, st.integers(1, 6)),
    st.tuples(st.sampled_from(["commit", "checkpoint", "crash", "lost", "other device"]), st.just({0}), st.just(1)),
    st.tuples(st.sampled_from(["end", "back"]), PLACES, st.just(1)),
)
CUTS = [  # bytes of an object, in memory, and of an inner chunk
    (2**24, 2**26, 2**14),
    (2000, 2**26, 2**7),  # several members per object, all frames
    (2000, 3000, 2**7),  # several objects over time too
    (100, 100, 1),  # one frame of one member per object
]


def cut(patch: pytest.MonkeyPatch, sizes: tuple[int, int, int]) -> None:
    for name, size in zip(("BLOCK_SHARD_BYTES", "BLOCK_OPEN_BYTES", "INNER_BYTES"), sizes, strict=True):
        patch.setattr(f"leym.frames.layout.{name}", size)


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.lists(DOING, max_size=30), st.sampled_from(CUTS))
def test_readers_see_what_was_committed_of_every_member_whatever_happens(doings, sizes):
    with pytest.MonkeyPatch.context() as patch:
        cut(patch, sizes)
        block = WritingBlock(open_store("memory://"), MEMBERS)
        for name, places, times in doings:
            if name == "step":
                for _ in range(times):
                    block.step(places)
            elif name == "end":
                block.end(places)
            elif name == "back":
                block.back(places)
            elif name in ("commit", "checkpoint"):
                block.commit(name == "checkpoint")
                counted = SimpleNamespace(**{f.name: getattr(block.row, f.name) for f in dataclasses.fields(block.row)})
                prefix = job_prefix(block.row.id)
                assert block.writer.stored_bytes == referenced_bytes(counted, block.store.scan(prefix))
            else:
                if name == "lost":
                    block.writer.flush()
                block.crash(other_device=name == "other device")
            block.check()
        for _ in range(2 * len(RECORDED)):
            for step in np.unique(block.at).tolist():
                block.step(np.flatnonzero(block.at == step).tolist())
        block.end(range(MEMBERS))
        block.commit()
        block.check()
        assert "next" not in block.row.manifest
        assert set(block.store.list("jobs/")) == referenced_keys(block.row), "and nothing else is left"
        assert find_damage(block.store, block.row, deep=True) == []


def finished(members: int, store_url: str = "memory://") -> WritingBlock:
    block = WritingBlock(open_store(store_url), members)
    for _ in RECORDED:
        block.step(range(members))
    block.end(range(members))
    block.commit()
    return block


def test_ten_thousand_members_of_two_frames_are_a_few_objects():
    members = 10_000
    spec = {"grid": [8, 8], "steps": 10, "record": [{"field": "phase", "every": 10}]}
    row = block_row(members, **spec, observe={"every": 10, "names": ["activity"]})
    store = open_store("memory://")
    writer = FrameWriter(store, row.id, 1, arrays_of(row), members=members)
    places = np.arange(members)
    for step in (0, 10):
        phase = np.random.default_rng(step).normal(size=(members, 8, 8)).astype(np.float32)
        writer.append(step, places, {"phase": phase}, {"activity": places + step / 100})
    writer.append_last(places, np.ones((members, 8, 8, 4), np.complex64))
    manifest = writer.flush()
    keys = list(store.list("jobs/"))
    assert len(keys) <= 20
    assert len(json.dumps(manifest)) < 1000
    raw = members * (2 * 8 * 8 * 4 + 2 * 8 + 8 * 8 * 4 * 8)
    assert writer.stored_bytes < raw * 1.01


def test_the_manifest_of_a_block_does_not_grow_with_its_frames(monkeypatch):
    cut(monkeypatch, (2000, 3000, 2**7))
    sizes = []
    for steps in (60, 600):
        row = block_row(MEMBERS, steps=steps, record=[{"field": "phase", "every": 1}], observe=None)
        writer = FrameWriter(open_store("memory://"), row.id, 1, arrays_of(row), members=MEMBERS)
        for step in range(steps):
            writer.append(step, range(MEMBERS), {"phase": np.full((MEMBERS, 4, 6), step, np.float32)})
        sizes.append(len(json.dumps(writer.flush())))
    assert sizes[1] <= sizes[0] + 8


def test_a_shard_of_a_block_is_a_zarr_shard_with_holes(monkeypatch, tmp_path):
    cut(monkeypatch, (2000, 3000, 2**7))
    block = WritingBlock(open_store("memory://"), MEMBERS)
    for _ in RECORDED[:5]:
        block.step([0, 1, 5])
    block.commit()
    array = next(a for a in arrays_of(block.row) if a.name == "phase")
    shape = (-(-MEMBERS // array.shard_members) * array.shard_members, -(-7 // array.per_shard) * array.per_shard, 4, 6)
    sharding = ShardingCodec(
        chunk_shape=(array.chunk_members, 1, 4, 6),
        codecs=[BytesCodec(), BloscCodec(typesize=2, cname="lz4", clevel=5, shuffle="shuffle"), Crc32cCodec()],
        index_codecs=[BytesCodec(), Crc32cCodec()],
    )
    zarr.create_array(
        tmp_path / "alone",
        shape=shape,
        chunks=(array.shard_members, array.per_shard, 4, 6),
        dtype="float16",
        filters=(),
        compressors=None,
        serializer=sharding,
        fill_value=np.nan,
    )
    committed = committed_arrays(block.row.manifest, [array])["phase"]
    for shard in committed.shards():
        frames, members = divmod(shard, array.member_shards)
        target = tmp_path / "alone" / f"c/{members}/{frames}/0/0"
        target.parent.mkdir(parents=True)
        target.write_bytes(block.store.get(committed.key(block.row.id, array, shard)))
    alone = zarr.open_array(tmp_path / "alone", mode="r")[:]
    for place in range(MEMBERS):
        for frame in range(7):
            if place in (0, 1, 5) and frame * 2 <= block.at[place]:
                assert np.array_equal(alone[place, frame], fields_at(2 * frame, place)["phase"])
            else:
                assert np.isnan(alone[place, frame]).all()


def test_last_states_and_observables_of_members():
    block = WritingBlock(open_store("memory://"), MEMBERS)
    for _ in RECORDED:
        block.step(range(3))
    for _ in range(3):
        block.step([4])
    block.end([0, 2, 4])
    block.commit()
    for place in (0, 2):
        psi = last_state(block.store, member_view(block.row, place))
        assert np.array_equal(psi, fields_at(12, place)["psi"])
    for place in (1, 4, 6):  # runs, failed, never started
        with pytest.raises(Problem) as refusal:
            last_state(block.store, member_view(block.row, place))
        assert refusal.value.status == 404
    found = last_observables(block.store, block.row)
    expected = [numbers_at(12, p)["activity"] for p in range(3)] + [np.nan, numbers_at(3, 4)["activity"]] + [np.nan] * 2
    assert np.array_equal(found["activity"], expected, equal_nan=True)
    assert set(found) == {"activity", "coherence"}
    block.store.delete_prefix(job_prefix(block.row.id))
    for read in (
        lambda: last_observables(block.store, block.row),
        lambda: last_state(block.store, member_view(block.row, 0)),
    ):
        with pytest.raises(Problem) as refusal:
            read()
        assert refusal.value.status == 503


def test_the_last_state_of_a_job_of_its_own():
    row = dataclasses.replace(block_row(1), indices=None, state=JobState.SUCCEEDED)
    store = open_store("memory://")
    writer = FrameWriter(store, row.id, 1, arrays_of(row))
    psi = fields_at(12, 0)["psi"]
    writer.append_last([0], psi[None])
    done = dataclasses.replace(row, manifest=writer.flush())
    assert np.array_equal(last_state(store, done), psi)
    assert list(store.list("jobs/")) == [f"jobs/{row.id}/last_psi/000000.1"]


def test_a_member_that_is_ahead_or_behind_is_refused():
    block = WritingBlock(open_store("memory://"), MEMBERS)
    block.step([0, 1])
    phase = np.zeros((2, 4, 6), np.float16)
    with pytest.raises(ValueError, match=r"step 2 of 'phase' of member 2: the next one is 0"):
        block.writer.append(2, [1, 2], {"phase": phase})
    with pytest.raises(ValueError, match=r"float16 \[2, 4, 6\]"):
        block.writer.append(2, [1], {"phase": phase})


def test_lost_frames_of_a_member_are_unreadable_and_never_nan():
    block = finished(MEMBERS)
    for key in block.store.list("jobs/"):
        if "/phase/" in key:
            block.store.delete([key])
    view = member_view(block.row, 3)
    with pytest.raises(Problem) as refusal:
        FrameReader(block.store, view, lambda: view).read("phase")
    assert refusal.value.status == 503
    assert len(FrameReader(block.store, view).read("psi")[0]) == 4
    assert {damage.why for damage in find_damage(block.store, block.row)} == {"is missing"}


def test_an_open_shard_knows_its_values():
    row = block_row(3)
    [psi, *_] = arrays_of(row)
    shard = OpenShard(psi, 0)
    values = np.stack([fields_at(4, place)["psi"] for place in (0, 2)])
    shard.put(np.array([0, 2]), 1, values)
    again = OpenShard.decode(psi, 0, b"".join(shard.encode()))
    assert np.array_equal(again.values[[0, 2], 1], values)
    assert np.isnan(again.values[1]).all()
    assert np.isnan(again.values[:, 0]).all()
