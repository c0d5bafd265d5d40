"""Appends frames to a job's arrays, one writer at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from leym.contract.problems import Problem
from leym.frames.layout import ArraySpec, job_prefix
from leym.frames.manifest import VERSION, Series, epoch_of, series_of, shard_key
from leym.frames.shards import Damaged, encode_frame, encode_row, pack_shard, pack_table, parse_table, split_shard
from leym.frames.stores.base import Missing, Store


class FrameWriter:
    """Writes the arrays of one job under one epoch.

    Use, from one thread at a time:

        writer = FrameWriter(store, job.id, job.epoch, arrays_of(job), job.manifest, attributes=engine.attributes(run))
        writer.rewind(checkpoint_step or -1)           # only when resuming; -1: from the beginning
        writer.append(step, fields, observables)       # for every step at which something is due, in order
        manifest = writer.flush()                      # data is durable when it returns
        table.commit(..., manifest=manifest)           # now readers see it
        store.delete(writer.superseded())              # only after the commit succeeded

    `flush` may fail with OSError (or Problem 503): nothing is lost, call it again.
    """

    def __init__(
        self,
        store: Store,
        job_id: str,
        epoch: int,
        arrays: Sequence[ArraySpec],
        manifest: Mapping[str, Any] | None = None,
        attributes: Mapping[str, Any] | None = None,
    ):
        """manifest: the committed one of the job, goes on behind its last frame. attributes: facts about the run
        (JSON) that results carry; None keeps those of the manifest."""
        self._store, self._job_id, self._epoch, self._arrays = store, job_id, epoch, list(arrays)
        shown = series_of(manifest, arrays)
        own = series_of(manifest, arrays, "next") if manifest and "next" in manifest else shown
        # of a job that goes on, how large its objects are: one listing
        sizes = {entry.key: entry.size for entry in store.scan(job_prefix(job_id))} if manifest else {}
        self._tails = [_Tail(store, job_id, epoch, array, own[array.name], sizes) for array in arrays]
        # what readers have seen, while it is more than what this writer has
        self._shown = shown if own != shown else None
        self._shown_sizes = {k: sizes.get(k, 0) for a in arrays for k in shown[a.name].keys(job_id, a)}
        self._attributes = dict(attributes if attributes is not None else (manifest or {}).get("attributes", {}))
        self._sweep = epoch > 1

    def rewind(self, step: int) -> None:
        """Forget frames after `step`, to write them again. -1 forgets all. Objects behind it need not be there.

        Raises Problem 503 if frames up to `step` are not all there. What readers saw stays visible, from the old
        objects, until the rewritten frames have caught up with it.
        """
        if self._shown is None:
            self._shown = {tail.array.name: tail.series for tail in self._tails}
            self._shown_sizes = self._sizes()
        for tail in self._tails:
            tail.rewind(tail.array.frames_up_to(step))

    def describe(self, step: int, facts: Mapping[str, Any]) -> None:
        """Store how the frames from `step` on are computed, in `attributes["segments"]`.

        Frames of another kind of device or batch size may have other bits, so results list every segment:
        `[{"from_step": 0, "batch_size": 8, ...}, ...]`. Before version 0.1.0 `batch_size` was stored as `rung`.
        """
        before = [s for s in self._attributes.get("segments", []) if s["from_step"] < step]
        if not before or {**before[-1], "from_step": 0} != {**facts, "from_step": 0}:
            before.append({"from_step": step, **facts})
        self._attributes = {**self._attributes, "segments": before}

    def append(
        self,
        step: int,
        fields: Mapping[str, NDArray[Any]],
        observables: Mapping[str, float] | None = None,
    ) -> None:
        """Take everything that is due at `step`: fields [H, W] or [H, W, d] in their stored dtype, and numbers.

        Encodes and keeps it in memory. Raises ValueError if something due is missing, out of order, or of another
        shape or dtype; Problem 503 if the frames before it cannot be read back.
        """
        due = [tail for tail in self._tails if step % tail.array.every == 0]
        for tail in due:
            tail.check(step, fields, observables or {})
        for tail in due:
            tail.append(fields, observables or {})

    def flush(self) -> dict[str, Any]:
        """Write every full shard and the partly filled ones; returns the manifest to commit."""
        for tail in self._tails:
            tail.write()
        own = {tail.array.name: tail.series for tail in self._tails}
        if self._shown and all(own[name].committed >= series.committed for name, series in self._shown.items()):
            self._shown = None
        manifest: dict[str, Any] = {
            "version": VERSION,
            "arrays": {name: series.as_dict() for name, series in (self._shown or own).items()},
            "attributes": self._attributes,
        }
        return manifest | ({"next": {n: s.as_dict() for n, s in own.items()}} if self._shown else {})

    @property
    def pending_bytes(self) -> int:
        """Encoded bytes that no object holds yet: what the next `flush()` would save."""
        return sum(tail.pending for tail in self._tails)

    @property
    def stored_bytes(self) -> int:
        """Of the objects that the manifest of the last `flush()` names."""
        return sum((self._sizes() | (self._shown_sizes if self._shown else {})).values())

    def superseded(self) -> list[str]:
        """Keys that the manifest just committed no longer names; each key is told once."""
        shown = self._shown_partials()
        keys: list[str] = []
        for tail in self._tails:
            keys += [key for key in tail.superseded if key not in shown]
            tail.superseded = [key for key in tail.superseded if key in shown]
        if self._sweep and self._shown is None:
            keys += self._left_behind()
            self._sweep = False
        return keys

    def _sizes(self) -> dict[str, int]:
        return {key: size for tail in self._tails for key, size in tail.sizes.items()}

    def _shown_partials(self) -> set[str]:
        """Partial objects that readers still need, because the rewritten frames have not caught up."""
        arrays = [(tail.array, self._shown[tail.array.name]) for tail in self._tails] if self._shown else []
        return {s.key(self._job_id, array, s.partial.shard) for array, s in arrays if s.partial}

    def _left_behind(self) -> list[str]:
        """Objects of earlier epochs that are not needed: of a crash before its commit, or written again since."""
        found = []
        for tail in self._tails:
            needed = set(tail.series.keys(self._job_id, tail.array))
            prefix = f"{job_prefix(self._job_id)}{tail.array.name}/"
            found += [k for k in self._store.list(prefix) if k not in needed and epoch_of(k) < self._epoch]
        return found


class _Tail:
    """The end of one array: what is written of it, and the encoded frames of the shard that is not full.

    _parts: encoded frames behind the last whole shard. Those of a partial one are read back when they are needed: after
    a rewind that may be none.
    sizes: bytes of every object that `series` names.
    """

    def __init__(
        self, store: Store, job_id: str, epoch: int, array: ArraySpec, series: Series, sizes: Mapping[str, int]
    ):
        self.array, self.series, self.pending = array, series, 0
        self.sizes = {key: sizes.get(key, 0) for key in series.keys(job_id, array)}
        self.superseded: list[str] = []
        self._store, self._job_id, self._epoch = store, job_id, epoch
        self._parts: list[bytes] = []
        self._loaded = False

    def rewind(self, frames: int) -> None:
        if frames > self.series.committed:
            raise Problem(
                503,
                "Frames missing",
                f"job {self._job_id}: {self.array.name!r} has {self.series.committed} committed frames; "
                f"going on from the checkpoint needs {frames}",
            )
        if frames < self.series.committed or self.pending or not self._loaded:
            self._load(frames)

    def check(self, step: int, fields: Mapping[str, NDArray[Any]], observables: Mapping[str, float]) -> None:
        array = self.array
        if not self._loaded:
            self._load(self.series.committed)
        due = (self.series.whole + len(self._parts)) * array.every
        if step != due:
            raise ValueError(f"step {step} of {array.name!r}: the next one is {due}")
        if array.is_table:
            if missing := [name for name in array.columns if name not in observables]:
                raise ValueError(f"step {step}: observables {missing} are missing")
        elif array.name not in fields:
            raise ValueError(f"step {step}: field {array.name!r} is missing")
        else:
            frame = fields[array.name]
            if frame.shape != array.shape or frame.dtype != array.dtype:
                raise ValueError(
                    f"step {step} of {array.name!r} is {frame.dtype} {list(frame.shape)}; "
                    f"expected {array.dtype} {list(array.shape)}"
                )

    def append(self, fields: Mapping[str, NDArray[Any]], observables: Mapping[str, float]) -> None:
        array = self.array
        if array.is_table:
            part = encode_row([float(observables[name]) for name in array.columns])
        else:
            part = encode_frame(fields[array.name])
        self._parts.append(part)
        self.pending += len(part)

    def write(self) -> None:
        """Every object is written before `series` names it, so that a failure in between can be repeated."""
        if not self._loaded:
            return
        n = self.array.per_shard
        while len(self._parts) >= n:
            self._put(self.series.with_whole(self.array, self._epoch), self._parts[:n])
            del self._parts[:n]
        unsaved = self.series.whole + len(self._parts) - self.series.committed
        if unsaved:
            self._put(self.series.with_partial(self.array, self._epoch, len(self._parts)), self._parts)
        self.pending = sum(map(len, self._parts[self.series.committed - self.series.whole :]))

    def _put(self, series: Series, parts: Sequence[bytes]) -> None:
        """Write the last object of `series`."""
        shard = (series.committed - 1) // self.array.per_shard
        data = pack_table(parts) if self.array.is_table else pack_shard(parts, self.array.per_shard)
        key = series.key(self._job_id, self.array, shard)
        self._store.put(key, data)
        self.sizes[key] = len(data)
        if old := self.series.partial:
            replaced = shard_key(self._job_id, self.array.name, old.shard, old.epoch, old.frames)
            self.superseded.append(replaced)
            self.sizes.pop(replaced, None)
        self.series = series

    def _load(self, frames: int) -> None:
        """Go on behind the first `frames` frames, with those of a shard that is not full in memory."""
        shard, rest = divmod(frames, self.array.per_shard)
        parts = self._read(shard, rest) if rest else []
        if frames < self.series.committed:
            self.series = self.series.only_whole(self.array, shard)
            self.sizes = {key: self.sizes[key] for key in self.series.keys(self._job_id, self.array)}
        self._parts, self.pending, self._loaded = parts, 0, True

    def _read(self, shard: int, frames: int) -> list[bytes]:
        """The first encoded frames of a committed shard."""
        array, key = self.array, self.series.key(self._job_id, self.array, shard)
        try:
            data = self._store.get(key)
            if array.is_table:
                return [row.tobytes() for row in parse_table(data, len(array.columns), frames)[:frames]]
            return split_shard(data, array.per_shard, frames)
        except (Missing, Damaged) as error:
            raise Problem(503, "Frames unreadable", f"committed object {key!r}: {error}") from error
