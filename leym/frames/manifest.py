"""Manifest: the record of committed frames, which names the object of each shard.

    {"version": 2,
     "members": 4096,                                          of a block
     "arrays": {"phase": {"whole": 70, "runs": [[0, 1], [57, 3]], "open": {"70": [3, 5]},
                          "committed": 565,                    of a job of its own: frames that readers see
                          "shards": [512, 8, 64]}},            of a block: members and frames of a shard, and members
                                                               of an inner chunk
     "next": {...},          only while frames are written again after a resume: the arrays of the writer, not visible
     "last": {"last_psi": {"dtype": ..., "shape": ..., ...}},  last states of members that succeeded
     "attributes": {...}}    facts about the run

The first `whole` shards will not be written again. A run [first, epoch] means that the epoch wrote those from the first
one on. `open` has the other shards, [epoch, version] each; a third number 1 marks those that are whole already. So the
size of a manifest grows neither with the frames nor with the members.

Version 1 knew only jobs of their own. It had "committed" and, in place of `open`, "partial": {"shard", "epoch",
"frames"}, where the number of frames was the version.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from leym.frames.layout import ArraySpec, JobLike, arrays_of, as_stored, job_prefix, last_array

VERSION = 2


class StoredShard(NamedTuple):
    """One object of a shard.

    Attributes:
        epoch: the epoch that wrote it.
        version: its number among the versions that the epoch wrote of a shard that fills up; 0 if there was no other.
        whole: True if it will not be written again.
    """

    epoch: int
    version: int
    whole: bool


@dataclass(frozen=True)
class CommittedArray:
    """The committed objects of one array. Immutable.

    Attributes:
        whole: number of shards at the beginning that are whole.
        runs: (first shard, epoch, version) of those.
        open: the objects of other shards by number.
        frames: frames that readers see of a job of its own; None for a block, whose members have their own numbers.
    """

    whole: int = 0
    runs: tuple[tuple[int, int, int], ...] = ()
    open: Mapping[int, StoredShard] = field(default_factory=dict)
    frames: int | None = None

    def find(self, shard: int) -> StoredShard | None:
        """Return the object of a shard; None if there is none."""
        if not 0 <= shard < self.whole:
            return self.open.get(shard)
        epoch, version = next((epoch, version) for first, epoch, version in reversed(self.runs) if first <= shard)
        return StoredShard(epoch, version, whole=True)

    def key(self, row_id: str, array: ArraySpec, shard: int) -> str:
        """Return the key of the object of a shard.

        Raises:
            IndexError: the shard is not committed.
        """
        stored = self.find(shard)
        if stored is None:
            raise IndexError(f"shard {shard} of {array.name!r} is not committed")
        return shard_key(row_id, array.name, shard, stored.epoch, stored.version)

    def shards(self) -> Iterator[int]:
        """Iterate over the numbers of all committed shards in order."""
        yield from range(self.whole)
        yield from sorted(self.open)

    def keys(self, row_id: str, array: ArraySpec) -> list[str]:
        """Return the keys of all objects of the array in order."""
        return [self.key(row_id, array, shard) for shard in self.shards()]

    def replaced(self, shard: int, stored: StoredShard) -> CommittedArray:
        """Return a copy that names another object for a shard."""
        kept = self.without([shard])
        whole, runs, others = kept.whole, list(kept.runs), {**kept.open, shard: stored}
        while (following := others.get(whole)) and following.whole:
            del others[whole]
            if not runs or runs[-1][1:] != following[:2]:
                runs.append((whole, following.epoch, following.version))
            whole += 1
        return CommittedArray(whole, tuple(runs), others, self.frames)

    def without(self, shards: Collection[int]) -> CommittedArray:
        """Return a copy that lacks some shards."""
        whole = min((shard for shard in shards if shard < self.whole), default=self.whole)
        later = {shard: self.find(shard) for shard in range(whole, self.whole)}
        others = {shard: stored for shard, stored in {**later, **self.open}.items() if stored and shard not in shards}
        return CommittedArray(whole, tuple(run for run in self.runs if run[0] < whole), others, self.frames)

    def as_dict(self, array: ArraySpec, frames: int) -> dict[str, Any]:
        """Return the JSON of a manifest.

        Args:
            array: the array.
            frames: frames that readers see of a job of its own.
        """
        found: dict[str, Any] = {
            "whole": self.whole,
            "runs": [list(run) if run[2] else list(run[:2]) for run in self.runs],
            "open": {str(shard): [*s[:2], 1] if s.whole else list(s[:2]) for shard, s in sorted(self.open.items())},
        }
        if array.members == 1:
            return found | {"committed": frames}
        return found | {"shards": [array.shard_members, array.per_shard, array.chunk_members]}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], array: ArraySpec) -> CommittedArray:
        """Parse the JSON of a manifest."""
        runs = tuple((int(first), int(epoch), int(rest[0]) if rest else 0) for first, epoch, *rest in data["runs"])
        frames = int(data["committed"]) if "committed" in data else None
        if "whole" in data:
            others = {
                int(shard): StoredShard(int(epoch), int(version), bool(rest))
                for shard, (epoch, version, *rest) in data["open"].items()
            }
            return cls(int(data["whole"]), runs, others, frames)
        partial = data["partial"]  # version 1
        others = {partial["shard"]: StoredShard(partial["epoch"], partial["frames"], False)} if partial else {}
        whole = (int(data["committed"]) - (partial["frames"] if partial else 0)) // array.per_shard
        return cls(whole, runs, others, frames)


def shard_key(row_id: str, name: str, shard: int, epoch: int, version: int) -> str:
    """Return the key of an object. Keys never repeat.

    The epoch keeps a worker that has lost the job from overwriting the objects of its successor. The version
    distinguishes the objects that one epoch writes of a shard as it fills; 0 is the only one.
    """
    return f"{job_prefix(row_id)}{name}/{shard:06d}.{epoch}" + (f".{version}" if version else "")


def epoch_of(key: str) -> int:
    """Return the epoch in a key of `shard_key`."""
    return int(key.rsplit("/", 1)[-1].split(".")[1])


def is_partial(key: str) -> bool:
    """Return True if a key of `shard_key` has a version: as the shard fills, it is written again with another key."""
    return key.rsplit("/", 1)[-1].count(".") == 2


def committed_arrays(
    manifest: Mapping[str, Any] | None, arrays: Sequence[ArraySpec], part: str = "arrays"
) -> dict[str, CommittedArray]:
    """Parse the committed objects of each array; an array that the manifest does not name has none.

    Args:
        manifest: manifest of a row.
        arrays: arrays of the job.
        part: "arrays" for those that readers see, "next" for those of the writer after a resume, "last" for last
            states.

    Raises:
        ValueError: the manifest has another version.
    """
    if manifest and manifest.get("version", VERSION) not in (1, VERSION):
        raise ValueError(f"manifest version {manifest['version']}; this code reads the versions 1 to {VERSION}")
    found = (manifest or {}).get(part, {})
    return {
        array.name: (
            CommittedArray.from_dict(found[array.name], array)
            if array.name in found
            else CommittedArray(frames=0 if array.members == 1 else None)
        )
        for array in arrays
    }


def last_arrays(job: JobLike) -> list[ArraySpec]:
    """Return the arrays of last states that the manifest of a row names."""
    manifest = job.manifest or {}
    members = int(manifest.get("members", job.members))
    return [
        as_stored(last_array(name, stored["dtype"], tuple(stored["shape"]), members), stored)
        for name, stored in manifest.get("last", {}).items()
    ]


def all_objects(job: JobLike, parts: Sequence[str]) -> Iterator[tuple[ArraySpec, CommittedArray]]:
    """Iterate over the arrays of some parts of a row's manifest, with their committed objects."""
    for part in parts:
        arrays = last_arrays(job) if part == "last" else arrays_of(job)
        committed = committed_arrays(job.manifest, arrays, part)
        yield from ((array, committed[array.name]) for array in arrays)


def visible_frames(
    job: JobLike, committed: Mapping[str, CommittedArray], arrays: Sequence[ArraySpec]
) -> dict[str, int]:
    """Count the frames of each array that readers see of a job or member: as many as every array with its schedule has.

    Arrays with the same schedule share the coordinate of their steps. A commit in the middle of a flush may have more
    frames of one of them. The frames of a member of a block follow from its committed step.
    """
    shortest: dict[int, int] = {}
    for array in arrays:
        frames = committed[array.name].frames
        if frames is None:
            frames = array.frames_up_to(job.step) if job.manifest else 0
        shortest[array.every] = min(frames, shortest.get(array.every, array.frames))
    return {array.name: shortest[array.every] for array in arrays}
