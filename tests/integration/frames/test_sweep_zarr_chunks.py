"""Chunks of the labelled array of a sweep: each opens few objects, and a fault is an error and never a hole."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from leym.contract.problems import Problem
from leym.frames import sweep_zarr
from leym.frames.layout import job_prefix
from leym.frames.stores.open import open_store
from tests.support.refusals import tried
from tests.support.sweeps import SPEC, Plan, WrittenBlock, activity, object_at, phase

pytestmark = pytest.mark.usefixtures("small_sweeps")


class Counting:
    """A store that counts how often each object is opened."""

    def __init__(self, store: Any):
        self._store, self.opened = store, Counter[str]()

    def get(self, key: str) -> bytes:
        self.opened[key] += 1
        return self._store.get(key)

    def head(self, key: str) -> int | None:
        self.opened[key] += 1
        return self._store.head(key)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


def test_a_chunk_opens_each_object_once(memory):
    plan = Plan({"seed": range(40)})
    block = WrittenBlock(memory, "a" * 26, range(40), **SPEC)
    block.write(10, range(40))
    block.commit()
    counting = Counting(memory)
    metadata = json.loads(object_at("phase/zarr.json", memory, plan, [block]))
    members = metadata["chunk_grid"]["configuration"]["chunk_shape"][0]
    assert 1 < members < 40
    for number in range(-(-40 // members)):
        counting.opened.clear()
        object_at(f"phase/c/{number}/0/0/0", counting, plan, [block])
        assert counting.opened
        assert set(counting.opened.values()) == {1}


def test_what_cannot_be_read_is_an_error_and_never_a_hole(memory):
    plan = Plan({"seed": range(6)})
    block = WrittenBlock(memory, "a" * 26, range(6), **SPEC)
    block.write(10, range(6))
    block.commit()
    good = object_at("phase/c/0/0/0/0", memory, plan, [block])
    for name in list(memory.list(job_prefix(block.row.id))):
        data = memory.get(name)
        for broken in (data[:-1], b"", bytes([data[0] ^ 1, *data[1:]]), None):
            memory.delete([name])
            if broken is not None:
                memory.put(name, broken)
            codes = []
            for array in ("phase", "activity"):
                for number in range(6):
                    path = f"{array}/c/{number}/0" + "/0/0" * (array == "phase")
                    _, problem = tried(lambda path=path: object_at(path, memory, plan, [block]))
                    codes += [problem.status] if problem else []
            assert 503 in codes
            assert set(codes) <= {503, 404}
        memory.delete([name])
        memory.put(name, data)
    assert object_at("phase/c/0/0/0/0", memory, plan, [block]) == good
    gone = dataclasses.replace(block.row, deleted_at=1.0)
    with pytest.raises(Problem) as refusal:
        sweep_zarr.find(memory, plan, lambda: [gone], "zarr.json")
    assert refusal.value.status == 410


def test_keys_that_the_hierarchy_does_not_have_are_not_found(memory):
    plan = Plan({"seed": range(6)})
    block = WrittenBlock(memory, "a" * 26, range(6), **SPEC)
    for path in (
        "phase/c/9/0/0/0",
        "phase/c/0/0/0",
        "phase/c/0/1/0/0",
        "phase/c/00/0/0/0",
        "phase/c/-1/0/0/0",
        "psi/zarr.json",
        "phase",
        "seed/c/2",
        "state/c/2",
        "shape_0/zarr.json",
        "observables/phase/zarr.json",
        "/zarr.json",
        "zarr.json/",
        "",
        "../x",
    ):
        with pytest.raises(Problem) as refusal:
            object_at(path, memory, plan, [block])
        assert refusal.value.status == 404, path


def test_an_object_that_a_commit_replaces_meanwhile_is_read_in_its_new_version(memory):
    plan = Plan({"seed": range(3)})
    block = WrittenBlock(memory, "a" * 26, range(3), **SPEC)
    block.write(0, range(3))
    block.commit()
    before = block.row
    block.write(5, range(3))
    block.commit()
    rows = iter([before, block.row])
    body = sweep_zarr.find(memory, plan, lambda: [next(rows)], "activity/c/0/0").body
    assert np.frombuffer(body)[:2].tolist() == [activity(0, 0), activity(5, 0)]


AXIS = st.integers(1, 5)


@settings(max_examples=40, deadline=None)
@given(AXIS, AXIS, st.integers(1, 4000), st.integers(1, 400), st.integers(1, 2000), st.data())
def test_every_chunk_is_a_part_of_the_whole_whatever_the_sizes(gammas, seeds, chunk_bytes, inner, shard, data):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("leym.frames.layout.BLOCK_SHARD_BYTES", shard)
        patch.setattr("leym.frames.layout.INNER_BYTES", inner)
        patch.setattr("leym.frames.sweep_layout.CHUNK_BYTES", chunk_bytes)
        patch.setattr("leym.frames.sweep_layout.CHUNK_VALUES", 1 + chunk_bytes % 7)
        store, size = open_store("memory://"), gammas * seeds
        plan = Plan({"gamma": np.linspace(0, 1, gammas), "seed": range(seeds)})
        cuts = data.draw(st.sets(st.integers(1, size), max_size=3)) - {size}
        bounds = [0, *sorted(cuts), size]
        blocks, done = [], np.full(size, -1)
        for letter, (begin, end) in zip("abcd", pairwise(bounds), strict=False):
            block = WrittenBlock(store, letter * 26, range(begin, end), **SPEC)
            for place in range(end - begin):
                steps = data.draw(st.sampled_from([-1, 0, 5, 10]))
                if steps >= 0:
                    block.write(steps, [place])
                    done[begin + place] = steps
            block.commit()
            blocks.append(block)

        class Adapter(zarr.storage.MemoryStore):
            """The keys of the sweep as a store of zarr."""

            async def get(self, name: str, prototype: Any, byte_range: Any = None) -> Any:
                body, problem = tried(lambda: object_at(name, store, plan, blocks))
                if problem is None:
                    return prototype.buffer.from_bytes(body)
                assert problem.status == 404, name
                return None

        group = zarr.open_group(Adapter(read_only=True), mode="r")
        assert group["steps_done"][:].ravel().tolist() == done.tolist()  # type: ignore[index, union-attr]
        found = group["phase"][:].reshape(size, 3, 4, 6)  # type: ignore[index, union-attr]
        numbers = group["activity"][:].reshape(size, 3)  # type: ignore[index, union-attr]
        for index in range(size):
            for i, step in enumerate((0, 5, 10)):
                if step <= done[index]:
                    assert np.array_equal(found[index, i], phase(step, index, (4, 6)))
                    assert numbers[index, i] == activity(step, index)
                else:
                    assert np.isnan(found[index, i]).all()
                    assert np.isnan(numbers[index, i])
