"""FrameWriter: appends frames to the arrays of a job or a block and says which manifest to commit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leym.frames.array_writer import ArrayWriter, RowObjects
from leym.frames.layout import ArraySpec, as_stored, job_prefix, last_array
from leym.frames.manifest import VERSION, CommittedArray, committed_arrays, epoch_of
from leym.frames.stores.base import Store

LAST = ("last_psi", "last_memory")  # arrays of last states


class FrameWriter:
    """Writes the arrays of one row of the job table, which has one or many members, in one epoch.

    Use it from one thread at a time:

        writer = FrameWriter(store, row.id, row.epoch, arrays_of(row), row.manifest, members=N, shown=states.step)
        writer.rewind(places, checkpoint_step or -1)      # only to resume; -1: from the beginning
        writer.end(others)                                # members that get no more frames
        writer.append(step, places, fields, observables)  # for every recorded step of members in lockstep
        writer.append_last(places, psi, memory)           # of members that succeeded
        manifest = writer.flush()                         # the objects are durable when it returns
        table.commit(..., manifest=manifest)              # makes the frames visible to readers
        store.delete(writer.superseded())                 # only after the commit succeeded

    Readers keep seeing the old frames of a member that went back until the new ones have caught up with them.

    If `flush` fails with OSError or Problem 503, nothing is lost; call it again.
    """

    def __init__(
        self,
        store: Store,
        row_id: str,
        epoch: int,
        arrays: Sequence[ArraySpec],
        manifest: Mapping[str, Any] | None = None,
        attributes: Mapping[str, Any] | None = None,
        members: int = 1,
        shown: NDArray[np.int64] | None = None,
    ):
        """Continue after the last committed frame.

        Args:
            store: object store of the service.
            row_id: the row.
            epoch: epoch of the caller's claim.
            arrays: arrays of the row.
            manifest: manifest that was committed last.
            attributes: facts about the run for readers of the results, as JSON; None keeps those of the manifest.
            members: number of members.
            shown: committed step of each member of a block, int64 [members], -1 before its first commit. It is not
                needed for a job of its own, whose manifest has the number of its frames.
        """
        self._members, self._arrays = members, list(arrays)
        sizes = {entry.key: entry.size for entry in store.scan(job_prefix(row_id))} if manifest else {}
        self._objects = RowObjects(store, row_id, epoch)
        committed = committed_arrays(manifest, arrays)
        self._next = committed_arrays(manifest, arrays, "next") if manifest and "next" in manifest else None
        self._writers = [ArrayWriter(self._objects, array, committed[array.name]) for array in arrays]
        self._last = {
            name: ArrayWriter(self._objects, array, CommittedArray.from_dict(stored, array))
            for name, stored in (manifest or {}).get("last", {}).items()
            for array in [as_stored(last_array(name, stored["dtype"], tuple(stored["shape"]), members), stored)]
        }
        self._sizes = sizes
        self._count_bytes()
        self._attributes = dict(attributes if attributes is not None else (manifest or {}).get("attributes", {}))
        self._has_predecessors = epoch > 1
        if members == 1:
            ends = [array.step_of(committed[array.name].frames or 0) - 1 for array in arrays]
            shown = np.array([min(ends, default=-1)], np.int64)
        elif shown is None or not manifest:
            shown = np.full(members, -1, np.int64)
        self._shown = shown.copy()  # step up to which readers see frames
        self._at = shown.copy()  # step up to which this writer has frames
        self._ended = np.zeros(members, bool)
        self._changed = np.zeros(members, bool)
        self._has_last = np.zeros(members, bool)
        self._unplaced = np.zeros(members, bool)  # after a resume in the middle of a resume, until `rewind` or `end`

    def rewind(self, places: Sequence[int] | NDArray[np.int64], step: int) -> None:
        """Go back to `step` with some members, to write later frames again; -1 goes back to the beginning.

        Objects of later frames may be missing.

        Args:
            places: places of the members, increasing.
            step: step of their checkpoint.

        Raises:
            Problem: 503 if a frame up to `step` is missing.
        """
        chosen = np.asarray(places, np.int64)
        if self._next is not None:
            for writer in self._writers:
                before, writer.own = writer.own, self._next[writer.array.name]
                writer.keep_showing(before)
            self._next, self._unplaced[:] = None, True
            self._count_bytes()
        self._at[chosen], self._unplaced[chosen], self._changed[chosen] = step, False, True
        for writer in self._writers:
            writer.rewind(chosen, writer.array.frames_up_to(step), self._counts(writer))

    def end(self, places: Sequence[int] | NDArray[np.int64]) -> None:
        """Keep the frames of members that get no more; shards that wait for nobody else leave the memory.

        Of members that went back and have not caught up, the frames that readers see are kept.

        Raises:
            Problem: 503 if those cannot be read.
        """
        chosen = np.asarray(places, np.int64)
        self._ended[chosen] = True
        self._restore(chosen[(self._held() | self._unplaced)[chosen]])

    def start_segment(self, step: int, facts: Mapping[str, Any]) -> None:
        """Store how the frames from `step` on are computed, in `attributes["segments"]`.

        Frames of another kind of device or batch size may have other bits, so results list every segment:
        `[{"from_step": 0, "batch_size": 8, ...}, ...]`. Before version 0.1.0 `batch_size` was stored as `rung`.

        The members of a block are at different steps: a segment of a block follows those before it whatever its step.
        """
        before = [s for s in self._attributes.get("segments", []) if s["from_step"] < step or self._members > 1]
        if not before or {**before[-1], "from_step": 0} != {**facts, "from_step": 0}:
            before.append({"from_step": step, **facts})
        self._attributes = {**self._attributes, "segments": before}

    def append(
        self,
        step: int,
        places: Sequence[int] | NDArray[np.int64],
        fields: Mapping[str, NDArray[Any]],
        observables: Mapping[str, NDArray[np.float64]] | None = None,
    ) -> None:
        """Keep everything that is recorded at `step` of some members in memory until the next flush.

        Args:
            step: the step.
            places: places of the members, int64 [n], increasing; their last recorded step is the one before.
            fields: recorded fields [n, H, W] or [n, H, W, d] in their stored dtypes.
            observables: values of each observable, float64 [n].

        Raises:
            ValueError: something is missing, out of order, or has another shape or dtype.
            Problem: 503 if earlier frames of a partial shard cannot be read.
        """
        chosen = np.asarray(places, np.int64)
        if self._unplaced.any():
            self._restore(np.flatnonzero(self._unplaced))
        recorded = [writer for writer in self._writers if step % writer.array.every == 0]
        values = [self._checked(writer, step, chosen, fields, observables or {}) for writer in recorded]
        for writer, found in zip(recorded, values, strict=True):
            writer.append(chosen, writer.array.frame_at(step), found, partial(self._counts, writer))
        self._at[chosen], self._changed[chosen] = step, True

    def append_last(
        self,
        places: Sequence[int] | NDArray[np.int64],
        psi: NDArray[np.complex64],
        memory: NDArray[np.float32] | None = None,
    ) -> None:
        """Keep the last states of members that have succeeded, and get no more frames, until the next flush.

        Args:
            places: places of the members, int64 [n], increasing.
            psi: complex64 [n, H, W, d].
            memory: memory of the law, [n, ...]; None if it has none.

        Raises:
            Problem: 503 if states of other members in the same object cannot be read.
        """
        chosen = np.asarray(places, np.int64)
        for name, values in zip(LAST, (psi, memory), strict=True):
            if values is None:
                continue
            if name not in self._last:
                array = last_array(name, str(values.dtype), values.shape[1:], self._members)
                self._last[name] = ArrayWriter(self._objects, array, CommittedArray())
            self._last[name].append(chosen, 0, values, lambda: np.ones(self._members, np.int64))
        self._has_last[chosen] = True
        self.end(chosen)

    def flush(self) -> dict[str, Any]:
        """Write all shards, partial ones included. Returns the manifest to commit."""
        self._restore(np.flatnonzero(self._unplaced))
        held = self._held()
        for writer in self._writers:
            writer.write(self._counts(writer), self._ended)
            writer.update_shown(held, self._shown_counts(writer), self._changed)
        for writer in self._last.values():
            writer.write(self._has_last.astype(np.int64), self._ended)
        for writer in self._all():
            writer.settle()
        self._shown = np.where(held, self._shown, self._at)
        manifest: dict[str, Any] = {"version": VERSION} | ({"members": self._members} if self._members > 1 else {})
        manifest["arrays"] = {
            w.array.name: (w.shown or w.own).as_dict(w.array, int(self._shown_counts(w)[0])) for w in self._writers
        }
        if held.any():
            manifest["next"] = {w.array.name: w.own.as_dict(w.array, int(self._counts(w)[0])) for w in self._writers}
        if self._last:
            manifest["last"] = {
                name: w.own.as_dict(w.array, 1) | {"dtype": w.array.dtype, "shape": list(w.array.shape)}
                for name, w in self._last.items()
            }
        return manifest | {"attributes": self._attributes}

    @property
    def stored_bytes(self) -> int:
        """Size in bytes of all objects that the manifest of the last `flush()` names."""
        return sum(self._objects.sizes.values())

    def superseded(self) -> list[str]:
        """Return keys that the manifest just committed no longer names. Each key is returned once."""
        keys, self._objects.superseded = self._objects.superseded, []
        if self._has_predecessors and not any(writer.shown for writer in self._writers):
            known = set(keys)
            keys += [key for key in self._obsolete() if key not in known]
            self._has_predecessors = False
        return keys

    # --- inside

    def _all(self) -> Iterator[ArrayWriter]:
        yield from self._writers
        yield from self._last.values()

    def _count_bytes(self) -> None:
        """Find the sizes of the objects of earlier epochs."""
        for writer in self._all():
            for named in (writer.own, writer.shown):
                keys = named.keys(self._objects.row_id, writer.array) if named else []
                self._objects.sizes.update((key, self._sizes.get(key, 0)) for key in keys)

    def _counts(self, writer: ArrayWriter) -> NDArray[np.int64]:
        """Count the frames that this writer has of each member."""
        return _frames_up_to(writer.array, self._at)

    def _shown_counts(self, writer: ArrayWriter) -> NDArray[np.int64]:
        """Count the frames that readers see of each member."""
        return _frames_up_to(writer.array, self._shown)

    def _held(self) -> NDArray[np.bool_]:
        """Find the members that have not caught up with what readers see: bool [members]."""
        held = np.zeros(self._members, bool)
        for writer in self._writers:
            held |= self._counts(writer) < self._shown_counts(writer)
        return held

    def _restore(self, places: NDArray[np.int64]) -> None:
        if len(places):
            self._at[places], self._unplaced[places], self._changed[places] = self._shown[places], False, True
            for writer in self._writers:
                writer.restore(places, self._shown_counts(writer), self._counts(writer))

    def _checked(
        self,
        writer: ArrayWriter,
        step: int,
        places: NDArray[np.int64],
        fields: Mapping[str, NDArray[Any]],
        observables: Mapping[str, NDArray[np.float64]],
    ) -> NDArray[Any]:
        """Return the values for an array: [n, ...]."""
        array, following = writer.array, (self._at[places] // writer.array.every + 1) * writer.array.every
        if (following != step).any():
            wrong = int((following != step).argmax())
            of = f" of member {places[wrong]}" if self._members > 1 else ""
            raise ValueError(f"step {step} of {array.name!r}{of}: the next one is {following[wrong]}")
        if array.is_table:
            if missing := [name for name in array.columns if name not in observables]:
                raise ValueError(f"step {step}: observables {missing} are missing")
            rows = np.empty((len(places), len(array.columns)))
            for column, name in enumerate(array.columns):
                rows[:, column] = observables[name]
            return rows
        if array.name not in fields:
            raise ValueError(f"step {step}: field {array.name!r} is missing")
        values = fields[array.name]
        if values.shape != (len(places), *array.shape) or values.dtype != array.dtype:
            raise ValueError(
                f"step {step} of {array.name!r} is {values.dtype} {list(values.shape)}; "
                f"expected {array.dtype} {[len(places), *array.shape]}"
            )
        return values

    def _obsolete(self) -> list[str]:
        """List objects of earlier epochs that were never committed, or were written again since."""
        row_id, prefix = self._objects.row_id, job_prefix(self._objects.row_id)
        needed = {key for writer in self._all() for key in writer.own.keys(row_id, writer.array)}
        names = {*(array.name for array in self._arrays), *LAST}
        keys = (key for name in names for key in self._objects.store.list(f"{prefix}{name}/"))
        return [key for key in keys if key not in needed and epoch_of(key) < self._objects.epoch]


def _frames_up_to(array: ArraySpec, steps: NDArray[np.int64]) -> NDArray[np.int64]:
    """Count the frames of each member up to its step: int64 [members]."""
    found: NDArray[np.int64] = np.maximum(steps // array.every + 1 - array.skipped, 0)
    return found
