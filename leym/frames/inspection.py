"""Inspection of stored results: finds objects that a row of the job table names but that are missing or damaged.

A missing object may have been replaced by a commit since the row was read. Keys never repeat, and an object is removed
only after a commit that no longer names it. So an object is lost if it is missing, and the row still names it when it
is read again afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from leym.contract.records import Job
from leym.frames.checkpoint import CorruptCheckpoint, chain_references, get_checkpoint, references
from leym.frames.kept import kept_references
from leym.frames.layout import ArraySpec, job_prefix
from leym.frames.manifest import CommittedArray, all_objects
from leym.frames.open_shard import OpenShard
from leym.frames.shards import DamagedError
from leym.frames.stores.base import Missing, Store


@dataclass(frozen=True)
class Damage:
    """A missing or damaged object.

    Attributes:
        key: key of the object.
        why: what is wrong, as the end of a sentence about the object.
        first_step: step of its first frame, or of a kept state; None for a checkpoint.
    """

    key: str
    why: str
    first_step: int | None = None


def find_damage(store: Store, job: Job, *, deep: bool = False) -> list[Damage]:
    """Find the objects of a job that are missing or have an impossible size.

    If frames are being written again after a resume, only the new ones are inspected.

    Args:
        store: object store of the service.
        job: row of the job.
        deep: also read all objects and verify their checksums.

    Raises:
        OSError: the store does not answer.
        ValueError: the row does not fit this version of the program; also LookupError and TypeError.
    """
    sizes = {entry.key: entry.size for entry in store.scan(job_prefix(job.id))}
    found = []
    for ref in references(job.checkpoint):
        if why := _wrong(sizes.get(ref["key"]), int(ref["bytes"])) or (_unreadable(store, ref) if deep else ""):
            found.append(Damage(ref["key"], why))
    for kept in kept_references(job.manifest):
        if why := _wrong(sizes.get(kept["key"]), int(kept["bytes"])) or (_unreadable(store, kept) if deep else ""):
            found.append(Damage(str(kept["key"]), why, int(kept["step"])))
    for array, committed, shard in _shards(job):
        key = committed.key(job.id, array, shard)
        if why := _wrong(sizes.get(key)) or (_undecodable(store, job, array, committed, shard) if deep else ""):
            found.append(Damage(key, why, _first_step(job, array, shard)))
    return found


def last_good_checkpoint(job: Job, found: list[Damage]) -> dict[str, Any] | None:
    """Return the newest intact checkpoint from which a job would write all damaged frames again; None for step 0.

    Of a block, those of its groups; a group without one starts at step 0.
    """
    bad = {damage.key for damage in found}
    steps = [damage.first_step for damage in found if damage.first_step is not None]

    def good(ref: Mapping[str, Any] | None) -> dict[str, Any] | None:
        intact = [one for one in references(ref) if one["key"] not in bad]
        return chain_references([one for one in intact if not steps or int(one["step"]) < min(steps)])

    if job.checkpoint is None or "groups" not in job.checkpoint:
        return good(job.checkpoint)
    groups = [(group, good(group)) for group in job.checkpoint["groups"]]
    return {"groups": [kept | {"members": group["members"]} for group, kept in groups if kept]}


def _shards(job: Job) -> Iterator[tuple[ArraySpec, CommittedArray, int]]:
    part = "next" if "next" in job.manifest and not job.final else "arrays"
    for array, committed in all_objects(job, (part, "last")):
        yield from ((array, committed, shard) for shard in committed.shards())


def _first_step(job: Job, array: ArraySpec, shard: int) -> int:
    """Return the step of the first frame of a shard; last states are those of the last step."""
    return array.step_of(array.first_frame(shard)) if array.compressed else int(job.spec["steps"])


def _wrong(size: int | None, expected: int | None = None) -> str:
    if size is None:
        return "is missing"
    if size == 0 or (expected is not None and size != expected):
        return f"has {size} bytes" + ("" if expected is None else f"; {expected} were written")
    return ""


def _unreadable(store: Store, ref: Mapping[str, Any]) -> str:
    try:
        get_checkpoint(store, ref)
    except CorruptCheckpoint as error:
        return error.detail
    return ""


def _undecodable(store: Store, job: Job, array: ArraySpec, committed: CommittedArray, shard: int) -> str:
    try:
        found = OpenShard.decode(array, shard, store.get(committed.key(job.id, array, shard)))
    except Missing:
        return "is missing"
    except DamagedError as error:
        return str(error)
    if array.members == 1 and committed.frames is not None:
        frames = min(committed.frames - array.first_frame(shard), array.frames_in(shard))
        if found.filled < frames:
            return f"has {found.filled} frames; {frames} are committed"
    return ""
