"""Manifest: the record of committed frames, which names the object of each shard. Its size does not grow with the job.

    {"version": 1,
     "arrays": {"phase": {"committed": 70, "runs": [[0, 1], [57, 3]],
                          "partial": {"shard": 69, "epoch": 3, "frames": 5}}},
     "next": {...},          only while frames are written again after a resume: the arrays of the writer, not visible
     "attributes": {...}}    facts about the run

A run [first, epoch] means that the epoch wrote the whole shards from the first one on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from leym.frames.layout import ArraySpec, job_prefix

VERSION = 1


@dataclass(frozen=True)
class Partial:
    """The last object of an array if it is not full."""

    shard: int
    epoch: int
    frames: int


@dataclass(frozen=True)
class CommittedArray:
    """The committed objects of one array: whole shards, then perhaps a partial one. Immutable.

    Attributes:
        frames: number of committed frames.
        runs: (first shard, epoch) of whole shards that one epoch wrote.
        partial: the last object if it is not full.
    """

    frames: int = 0
    runs: tuple[tuple[int, int], ...] = ()
    partial: Partial | None = None

    @property
    def whole(self) -> int:
        """Number of frames in whole shards."""
        return self.frames - (self.partial.frames if self.partial else 0)

    def key(self, job_id: str, array: ArraySpec, shard: int) -> str:
        """Return the key of the object of a shard.

        Raises:
            IndexError: the shard is not committed.
        """
        return shard_key(job_id, array.name, shard, *self._written(array, shard))

    def frames_in(self, array: ArraySpec, shard: int) -> int:
        """Count the committed frames of a shard."""
        return min(max(self.frames - shard * array.per_shard, 0), array.per_shard)

    def keys(self, job_id: str, array: ArraySpec) -> list[str]:
        """Return the keys of all objects of the array in order."""
        shards = -(-self.frames // array.per_shard)
        return [self.key(job_id, array, shard) for shard in range(shards)]

    def with_whole(self, array: ArraySpec, epoch: int) -> CommittedArray:
        """Return a copy in which the shard after the last whole one is whole, in place of a partial one."""
        shard = self.whole // array.per_shard
        runs = self.runs if self.runs and self.runs[-1][1] == epoch else (*self.runs, (shard, epoch))
        return CommittedArray((shard + 1) * array.per_shard, runs)

    def with_partial(self, array: ArraySpec, epoch: int, frames: int) -> CommittedArray:
        """Return a copy with a partial shard of `frames` frames after the last whole one."""
        return CommittedArray(self.whole + frames, self.runs, Partial(self.whole // array.per_shard, epoch, frames))

    def only_whole(self, array: ArraySpec, shards: int) -> CommittedArray:
        """Return a copy with only the first `shards` shards, which must be whole."""
        return CommittedArray(shards * array.per_shard, tuple(run for run in self.runs if run[0] < shards))

    def _written(self, array: ArraySpec, shard: int) -> tuple[int, int | None]:
        """Return the epoch that wrote a shard, and the number of its frames if it is partial, otherwise None."""
        if self.partial and shard == self.partial.shard:
            return self.partial.epoch, self.partial.frames
        if not 0 <= shard < self.whole // array.per_shard:
            raise IndexError(f"shard {shard} of {array.name!r} is not committed")
        return next(epoch for first, epoch in reversed(self.runs) if first <= shard), None

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON of a manifest."""
        partial = self.partial
        return {
            "committed": self.frames,
            "runs": [list(run) for run in self.runs],
            "partial": {"shard": partial.shard, "epoch": partial.epoch, "frames": partial.frames} if partial else None,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> CommittedArray:
        """Parse the JSON of a manifest."""
        partial = data["partial"]
        runs = tuple((int(first), int(epoch)) for first, epoch in data["runs"])
        return cls(int(data["committed"]), runs, Partial(**partial) if partial else None)


def shard_key(job_id: str, name: str, shard: int, epoch: int, frames: int | None) -> str:
    """Return the key of an object. Keys never repeat.

    The epoch keeps a worker that has lost the job from overwriting the objects of its successor. The number of frames
    distinguishes the versions of a partial shard.
    """
    return f"{job_prefix(job_id)}{name}/{shard:06d}.{epoch}" + ("" if frames is None else f".{frames}")


def epoch_of(key: str) -> int:
    """Return the epoch in a key of `shard_key`."""
    return int(key.rsplit("/", 1)[-1].split(".")[1])


def is_partial(key: str) -> bool:
    """Return True if a key of `shard_key` names a partial shard; as it fills, it is written again with another key."""
    return key.rsplit("/", 1)[-1].count(".") == 2


def committed_arrays(
    manifest: Mapping[str, Any] | None, arrays: Sequence[ArraySpec], part: str = "arrays"
) -> dict[str, CommittedArray]:
    """Parse the committed objects of each array; an array that the manifest does not name has none.

    Args:
        manifest: manifest of a row.
        arrays: arrays of the job.
        part: "arrays" for those that readers see, "next" for those of the writer after a resume.

    Raises:
        ValueError: the manifest has another version.
    """
    if manifest and manifest.get("version", VERSION) != VERSION:
        raise ValueError(f"manifest version {manifest['version']}; this code reads version {VERSION}")
    found = (manifest or {}).get(part, {})
    return {
        array.name: CommittedArray.from_dict(found[array.name]) if array.name in found else CommittedArray()
        for array in arrays
    }


def visible_frames(committed: Mapping[str, CommittedArray], arrays: Sequence[ArraySpec]) -> dict[str, int]:
    """Count the frames of each array that readers see: as many as every array with the same schedule has.

    Arrays with the same schedule share the coordinate of their steps. A commit in the middle of a flush may have more
    frames of one of them.
    """
    shortest: dict[int, int] = {}
    for array in arrays:
        shortest[array.every] = min(committed[array.name].frames, shortest.get(array.every, array.frames))
    return {array.name: shortest[array.every] for array in arrays}
