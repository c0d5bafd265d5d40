"""The checkpoints that the row of a block names: one per group of members in lockstep, as groups divide and end."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from leym.frames.checkpoint import references
from leym.frames.inspection import Damage, last_good_checkpoint
from workers.checkpoints import CheckpointRefs


def ref(key, step, **more):
    return {"key": key, "step": step, "sha256": "0" * 64, "bytes": 10} | more


def at(*places):
    return np.array(places, np.int64)


def kept_by(refs):
    return {tuple(places.tolist()): one["key"] for places, one in refs.groups()}


def test_a_group_that_divides_keeps_its_checkpoint_until_both_parts_have_newer_ones():
    refs = CheckpointRefs(None, is_block=True).with_group(at(0, 1, 2, 3), ref("a", 10))
    parted = refs.with_group(at(0, 1), ref("b", 20, previous=ref("a", 10)))
    assert kept_by(parted) == {(2, 3): "a", (0, 1): "b"}
    assert parted.previous(at(2, 3))["key"] == "a"
    assert parted.previous(at(1))["key"] == "b"
    assert parted.previous(at(1, 2)) is None
    assert kept_by(parted.without(at(2))) == {(3,): "a", (0, 1): "b"}
    assert kept_by(parted.with_group(at(2, 3), ref("c", 20))) == {(0, 1): "b", (2, 3): "c"}
    assert kept_by(parted.without(at(0, 1, 2, 3))) == {}
    assert kept_by(refs) == {(0, 1, 2, 3): "a"}, "copies leave it as it was"


def test_a_row_names_its_groups_and_is_read_again():
    refs = CheckpointRefs(None, is_block=True)
    refs = refs.with_group(at(4, 5), ref("a", 10)).with_group(at(0, 2), ref("b", 30, previous=ref("c", 20)))
    row = refs.as_dict()
    assert [group["members"] for group in row["groups"]] == ["4-5", "0,2"]
    assert [one["key"] for one in references(row)] == ["a", "b", "c"]
    assert (refs.keys(), refs.size()) == ({"a", "b", "c"}, 30)
    assert kept_by(CheckpointRefs(row, is_block=True)) == kept_by(refs)
    assert CheckpointRefs(None, is_block=True).as_dict() == {"groups": []}


def test_a_job_of_its_own_has_one_checkpoint_and_names_it_without_members():
    refs = CheckpointRefs(ref("a", 10), is_block=False)
    assert refs.as_dict() == ref("a", 10)
    newer = refs.with_group(at(0), ref("b", 20, previous=ref("a", 10)))
    assert newer.as_dict() == ref("b", 20, previous=ref("a", 10))
    assert CheckpointRefs(None, is_block=False).as_dict() is None


def test_groups_with_damaged_checkpoints_go_back_by_themselves():
    groups = [
        ref("new", 40, members="0-1", previous=ref("old", 20)),
        ref("lost", 40, members="2"),
        ref("good", 50, members="3"),
    ]
    job = SimpleNamespace(checkpoint={"groups": groups})
    found = last_good_checkpoint(job, [Damage("new", "is missing"), Damage("lost", "is missing")])
    assert found == {"groups": [ref("old", 20, members="0-1"), ref("good", 50, members="3")]}
    frames = [Damage("phase/000001.1", "is missing", 30)]
    assert [one["key"] for one in references(last_good_checkpoint(job, frames))] == ["old"]
