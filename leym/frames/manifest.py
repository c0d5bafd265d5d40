"""The commit record of a job's frames: which object holds which shard. Its size does not grow with the job's length.

    {"version": 1,
     "arrays": {"phase": {"committed": 70, "runs": [[0, 1], [57, 3]],
                          "partial": {"shard": 69, "epoch": 3, "frames": 5}}},
     "next": {...},          only while frames are written again after a resume: the writer's own arrays, not yet shown
     "attributes": {...}}    facts about the run

A run [first, epoch] says: from this shard on, whole shards were written by that epoch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from leym.frames.layout import ArraySpec, job_prefix

VERSION = 1


@dataclass(frozen=True)
class Partial:
    """The last object of an array, when it is not full."""

    shard: int
    epoch: int
    frames: int


@dataclass(frozen=True)
class Series:
    """The objects of one array: whole shards, then perhaps a partial one. Immutable."""

    committed: int = 0
    runs: tuple[tuple[int, int], ...] = ()
    partial: Partial | None = None

    @property
    def whole(self) -> int:
        """Frames in whole shards."""
        return self.committed - (self.partial.frames if self.partial else 0)

    def key(self, job_id: str, array: ArraySpec, shard: int) -> str:
        """The object that holds a shard. Raises IndexError if none is committed."""
        return shard_key(job_id, array.name, shard, *self._written(array, shard))

    def frames_in(self, array: ArraySpec, shard: int) -> int:
        """Committed frames of a shard."""
        return min(max(self.committed - shard * array.per_shard, 0), array.per_shard)

    def keys(self, job_id: str, array: ArraySpec) -> list[str]:
        """Every object of this array, in order."""
        shards = -(-self.committed // array.per_shard)
        return [self.key(job_id, array, shard) for shard in range(shards)]

    def with_whole(self, array: ArraySpec, epoch: int) -> Series:
        """With the shard behind the last whole one written in full, in the place of a partial one."""
        shard = self.whole // array.per_shard
        runs = self.runs if self.runs and self.runs[-1][1] == epoch else (*self.runs, (shard, epoch))
        return Series((shard + 1) * array.per_shard, runs)

    def with_partial(self, array: ArraySpec, epoch: int, frames: int) -> Series:
        """With `frames` frames behind the last whole shard."""
        return Series(self.whole + frames, self.runs, Partial(self.whole // array.per_shard, epoch, frames))

    def only_whole(self, array: ArraySpec, shards: int) -> Series:
        """Only the first `shards` shards, which must be whole."""
        return Series(shards * array.per_shard, tuple(run for run in self.runs if run[0] < shards))

    def _written(self, array: ArraySpec, shard: int) -> tuple[int, int | None]:
        """(epoch, frames of a partial shard or None) of the object that holds a shard."""
        if self.partial and shard == self.partial.shard:
            return self.partial.epoch, self.partial.frames
        if not 0 <= shard < self.whole // array.per_shard:
            raise IndexError(f"shard {shard} of {array.name!r} is not committed")
        return next(epoch for first, epoch in reversed(self.runs) if first <= shard), None

    def as_dict(self) -> dict[str, Any]:
        partial = self.partial
        return {
            "committed": self.committed,
            "runs": [list(run) for run in self.runs],
            "partial": {"shard": partial.shard, "epoch": partial.epoch, "frames": partial.frames} if partial else None,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Series:
        partial = data["partial"]
        runs = tuple((int(first), int(epoch)) for first, epoch in data["runs"])
        return cls(int(data["committed"]), runs, Partial(**partial) if partial else None)


def shard_key(job_id: str, name: str, shard: int, epoch: int, frames: int | None) -> str:
    """Names never repeat: the epoch keeps a zombie from writing over its successor's objects, and the number of
    frames one version of a partial shard from another."""
    return f"{job_prefix(job_id)}{name}/{shard:06d}.{epoch}" + ("" if frames is None else f".{frames}")


def epoch_of(key: str) -> int:
    """The epoch that wrote an object named by `shard_key`."""
    return int(key.rsplit("/", 1)[-1].split(".")[1])


def is_partial(key: str) -> bool:
    """Whether an object named by `shard_key` is not full: it is written again, under another name, as it fills."""
    return key.rsplit("/", 1)[-1].count(".") == 2


def series_of(
    manifest: Mapping[str, Any] | None, arrays: Sequence[ArraySpec], part: str = "arrays"
) -> dict[str, Series]:
    """The committed objects of each array, empty for what the manifest does not name."""
    if manifest and manifest.get("version", VERSION) != VERSION:
        raise ValueError(f"manifest version {manifest['version']}; this code reads version {VERSION}")
    found = (manifest or {}).get(part, {})
    return {array.name: Series.from_dict(found[array.name]) if array.name in found else Series() for array in arrays}


def visible(series: Mapping[str, Series], arrays: Sequence[ArraySpec]) -> dict[str, int]:
    """Frames of each array that readers are shown: as many as all arrays of its schedule have.

    They share the coordinate of their steps, and a commit in the middle of a flush may hold more of one.
    """
    shortest: dict[int, int] = {}
    for array in arrays:
        shortest[array.every] = min(series[array.name].committed, shortest.get(array.every, array.frames))
    return {array.name: shortest[array.every] for array in arrays}
