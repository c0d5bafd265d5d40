"""ArrayWriter: the shards of one array that are being written, and those that readers see meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from leym.contract.problems import Problem
from leym.frames.layout import ArraySpec
from leym.frames.manifest import CommittedArray, StoredShard, shard_key
from leym.frames.open_shard import OpenShard
from leym.frames.shards import DamagedError
from leym.frames.stores.base import Missing, Store

Counts = Callable[[], NDArray[np.int64]]


@dataclass
class RowObjects:
    """The objects of one row of the job table.

    Attributes:
        store: object store of the service.
        row_id: the row.
        epoch: epoch of the writer's claim.
        sizes: size in bytes of every object that a manifest names, by key.
        superseded: keys of objects that no manifest names any more.
    """

    store: Store
    row_id: str
    epoch: int
    sizes: dict[str, int] = field(default_factory=dict)
    superseded: list[str] = field(default_factory=list)

    def key(self, array: ArraySpec, shard: int, stored: StoredShard) -> str:
        """Return the key of an object."""
        return shard_key(self.row_id, array.name, shard, stored.epoch, stored.version)

    def load(self, array: ArraySpec, shard: int, stored: StoredShard) -> OpenShard:
        """Read a shard.

        Raises:
            Missing: there is no such object.
            DamagedError: its bytes are not those that were written.
        """
        return OpenShard.decode(array, shard, self.store.get(self.key(array, shard, stored)))


class ArrayWriter:
    """Writes the objects of one array.

    A member that went back to a checkpoint is *held* until it has again all frames that readers see. As long as there
    are such members, `shown` names other objects than `own`.

    Attributes:
        array: the array.
        own: objects with the frames of this writer.
        shown: objects that readers see; None if they are those of `own`.
    """

    def __init__(self, objects: RowObjects, array: ArraySpec, own: CommittedArray):
        """Continue after the frames in `own`."""
        self.array, self.own = array, own
        self.shown: CommittedArray | None = None
        self._objects = objects
        self._open: dict[int, OpenShard] = {}
        self._differing: set[int] = set()  # shards whose objects in `own` and in `shown` are not the same
        self._mixed: dict[int, tuple[StoredShard, int]] = {}  # what the object in `shown` was made of
        self._replaced: list[tuple[int, StoredShard]] = []
        self._versions: dict[int, int] = {}  # the highest one that this epoch has written of each shard
        self._without_version: set[int] = set()  # shards of which this epoch has written the object without a version

    # --- what this writer has

    def append(self, places: NDArray[np.int64], frame: int, values: NDArray[np.generic], counts: Counts) -> None:
        """Keep one frame of some members until the next `write`.

        Args:
            places: places of the members, int64 [n], increasing.
            frame: number of the frame.
            values: [n, ...].
            counts: returns the number of frames that every member of the block has so far, int64 [members].

        Raises:
            Problem: 503 if earlier frames of a shard cannot be read.
        """
        for begin, end, shard in self._by_shard(places, frame):
            self._opened(shard, counts).put(places[begin:end], frame, values[begin:end])

    def rewind(self, places: NDArray[np.int64], count: int, counts: NDArray[np.int64]) -> None:
        """Forget frames of some members.

        Args:
            places: places of the members, int64 [n], increasing.
            count: frames that they keep.
            counts: frames that every member of the block has, these included, int64 [members].

        Raises:
            Problem: 503 if one of the frames that they keep is missing.
        """
        array = self.array
        if self.shown is None:
            self.shown = self.own
        touched = set((places // array.shard_members).tolist())
        emptied = []
        for shard in {*self.own.shards(), *self._open}:
            begin, inside = array.first_frame(shard), array.places_in(shard)
            if shard % array.member_shards in touched and begin + array.per_shard > count:
                if (counts[inside] <= begin).all():
                    emptied.append(shard)
                    self._open.pop(shard, None)
                elif shard in self._open:
                    self._open[shard].truncate(counts[inside])
        self._note(emptied)
        self._differing.update(emptied)
        self.own = self.own.without(emptied)
        if count:
            self._check(places, count, counts)

    def restore(self, places: NDArray[np.int64], shown_counts: NDArray[np.int64], counts: NDArray[np.int64]) -> None:
        """Take back the frames of some members that readers see.

        Args:
            places: places of the members, int64 [n].
            shown_counts: frames that readers see of every member of the block, int64 [members].
            counts: frames that every member of the block has so far, int64 [members].

        Raises:
            Problem: 503 if they cannot be read.
        """
        for shard in sorted(self._differing.union(self._open)):
            inside = self.array.places_in(shard)
            some = places[(places >= inside.start) & (places < inside.stop)]
            some = some[shown_counts[some] > self.array.first_frame(shard)]
            stored = self.shown.find(shard) if self.shown else None
            if len(some) and stored:
                self._opened(shard, lambda: counts).copy_rows(some, self._load(shard, stored))

    def write(self, counts: NDArray[np.int64], ended: NDArray[np.bool_]) -> None:
        """Write each changed shard before `own` names it, so that a failed call can be repeated.

        Args:
            counts: frames that every member of the block has, int64 [members].
            ended: True for members that will get no more frames, bool [members].
        """
        array = self.array
        for shard, values in sorted(self._open.items()):
            inside, end = array.places_in(shard), array.first_frame(shard) + array.frames_in(shard)
            whole = bool((ended[inside] | (counts[inside] >= end)).all())
            if array.members == 1:  # a job may be extended
                whole = whole and array.frames_in(shard) == array.per_shard
            if values.dirty:
                stored = self._put(shard, values, whole)
                self._note([shard])
                self.own = self.own.replaced(shard, stored)
                values.dirty = False
                if self.shown is not None:
                    self._differing.add(shard)
            if whole:
                del self._open[shard]

    # --- what readers see

    def keep_showing(self, shown: CommittedArray) -> None:
        """Show other objects than `own` until `update_shown` replaces them."""
        self.shown = shown
        shards = {*self.own.shards(), *shown.shards()}
        self._differing = {shard for shard in shards if self.own.find(shard) != shown.find(shard)}

    def update_shown(
        self, held: NDArray[np.bool_], shown_counts: NDArray[np.int64], changed: NDArray[np.bool_]
    ) -> None:
        """Show the objects of this writer where no member is held, and otherwise objects that have frames of both.

        Args:
            held: True for members of which readers see the frames of before, bool [members].
            shown_counts: frames that readers see of those, int64 [members].
            changed: True for members that went back, or got frames since, bool [members].
        """
        if self.shown is None:
            return
        array = self.array
        for shard in sorted(self._differing):
            inside = array.places_in(shard)
            kept = held[inside] & (shown_counts[inside] > array.first_frame(shard))
            own = self.own.find(shard)
            if not kept.any():
                self._replace_shown(shard, own)
                self._differing.discard(shard)
            elif own and (changed[inside] & ~kept).any() and self._mixed.get(shard) != (own, int(kept.sum())):
                mixed = self._mix(shard, own, np.flatnonzero(~kept) + inside.start)
                self._replace_shown(shard, self._put(shard, mixed, whole=False))
                self._mixed[shard] = own, int(kept.sum())
        if not held.any():
            self.shown = None
            self._mixed.clear()

    def settle(self) -> None:
        """Find the objects that neither `own` nor `shown` names any more."""
        left = []
        for shard, stored in self._replaced:
            if stored in (self.own.find(shard), self.shown.find(shard) if self.shown else None):
                left.append((shard, stored))
            else:
                key = self._objects.key(self.array, shard, stored)
                self._objects.superseded.append(key)
                self._objects.sizes.pop(key, None)
        self._replaced = left

    # --- inside

    def _by_shard(self, places: NDArray[np.int64], frame: int) -> list[tuple[int, int, int]]:
        """Split increasing places by shard: (begin, end, shard)."""
        if not len(places):
            return []
        first, last = self.array.shard_of(int(places[0]), frame), self.array.shard_of(int(places[-1]), frame)
        if first == last:
            return [(0, len(places), first)]
        columns = places // self.array.shard_members
        bounds = np.searchsorted(columns - columns[0], np.arange(last - first + 2))
        found = zip(bounds[:-1].tolist(), bounds[1:].tolist(), range(first, last + 1), strict=True)
        return [(begin, end, shard) for begin, end, shard in found if begin < end]

    def _opened(self, shard: int, counts: Counts) -> OpenShard:
        """Return a shard to write to, with the frames that its members have so far."""
        if shard not in self._open:
            kept, stored = counts()[self.array.places_in(shard)], self.own.find(shard)
            if stored and (kept > self.array.first_frame(shard)).any():
                self._open[shard] = self._load(shard, stored)
                self._open[shard].truncate(kept)
            else:
                self._open[shard] = OpenShard(self.array, shard)
        return self._open[shard]

    def _check(self, places: NDArray[np.int64], count: int, counts: NDArray[np.int64]) -> None:
        """Check that members have their first `count` frames, and open the shards that go on after them."""
        for begin, end, shard in self._by_shard(places, count - 1):
            missing = self.own.find(shard) is None and shard not in self._open
            if not missing and count % self.array.per_shard:
                missing = self._opened(shard, lambda: counts).lacks(places[begin:end], count)
            if missing:
                detail = f"job {self._objects.row_id}: {self.array.name!r} lacks one of the first {count} frames, "
                raise Problem(503, "Frames missing", detail + "which going on from the checkpoint needs")

    def _load(self, shard: int, stored: StoredShard) -> OpenShard:
        try:
            return self._objects.load(self.array, shard, stored)
        except (Missing, DamagedError) as error:
            key = self._objects.key(self.array, shard, stored)
            raise Problem(503, "Frames unreadable", f"committed object {key!r}: {error}") from error

    def _mix(self, shard: int, own: StoredShard, places: NDArray[np.int64]) -> OpenShard:
        """Return the shard that readers see, with the frames of this writer for some members."""
        stored = self.shown.find(shard) if self.shown else None
        mixed = OpenShard(self.array, shard)
        if stored:
            try:
                mixed = self._objects.load(self.array, shard, stored)
            except (Missing, DamagedError):
                pass  # what readers could not read any more is being written again
        mixed.copy_rows(places, self._open[shard] if shard in self._open else self._load(shard, own))
        return mixed

    def _put(self, shard: int, values: OpenShard, whole: bool) -> StoredShard:
        """Write an object under a key that was never used."""
        objects, following = self._objects, self._versions.get(shard, 0) + 1
        if whole and shard not in self._without_version:
            version = 0
        else:
            version = max(following, values.filled)
        stored = StoredShard(objects.epoch, version, whole)
        parts, key = values.encode(), objects.key(self.array, shard, stored)
        objects.store.put(key, *parts)
        objects.sizes[key] = sum(map(len, parts))
        if version:
            self._versions[shard] = version
        else:
            self._without_version.add(shard)
        return stored

    def _note(self, shards: Iterable[int]) -> None:
        """Remember objects of `own` that are about to be replaced."""
        self._replaced += [(shard, stored) for shard in shards if (stored := self.own.find(shard))]

    def _replace_shown(self, shard: int, stored: StoredShard | None) -> None:
        shown = self.shown or self.own
        if old := shown.find(shard):
            self._replaced.append((shard, old))
        self.shown = shown.replaced(shard, stored) if stored else shown.without([shard])
