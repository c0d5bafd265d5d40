"""FrameWriter: appends frames to the arrays of a job and says which manifest to commit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from leym.contract.problems import Problem
from leym.frames.layout import ArraySpec, job_prefix
from leym.frames.manifest import VERSION, CommittedArray, committed_arrays, epoch_of, shard_key
from leym.frames.shards import DamagedError, encode_frame, encode_row, pack_shard, pack_table, parse_table, split_shard
from leym.frames.stores.base import Missing, Store


class FrameWriter:
    """Writes the arrays of one job in one epoch.

    Use it from one thread at a time:

        writer = FrameWriter(store, job.id, job.epoch, arrays_of(job), job.manifest, attributes=engine.attributes(run))
        writer.rewind(checkpoint_step or -1)           # only to resume; -1: from the beginning
        writer.append(step, fields, observables)       # for every recorded step in order
        manifest = writer.flush()                      # the objects are durable when it returns
        table.commit(..., manifest=manifest)           # makes the frames visible to readers
        store.delete(writer.superseded())              # only after the commit succeeded

    If `flush` fails with OSError or Problem 503, nothing is lost; call it again.
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
        """Continue after the last committed frame.

        Args:
            store: object store of the service.
            job_id: the job.
            epoch: epoch of the caller's claim.
            arrays: arrays of the job.
            manifest: manifest that was committed last.
            attributes: facts about the run for readers of the results, as JSON; None keeps those of the manifest.
        """
        self._store, self._job_id, self._epoch, self._arrays = store, job_id, epoch, list(arrays)
        shown = committed_arrays(manifest, arrays)
        own = committed_arrays(manifest, arrays, "next") if manifest and "next" in manifest else shown
        # sizes of the objects of a resumed job, by one listing
        sizes = {entry.key: entry.size for entry in store.scan(job_prefix(job_id))} if manifest else {}
        self._writers = [_ArrayWriter(store, job_id, epoch, array, own[array.name], sizes) for array in arrays]
        # arrays that readers see, while they have more frames than this writer
        self._shown = shown if own != shown else None
        self._shown_sizes = {k: sizes.get(k, 0) for a in arrays for k in shown[a.name].keys(job_id, a)}
        self._attributes = dict(attributes if attributes is not None else (manifest or {}).get("attributes", {}))
        self._has_predecessors = epoch > 1

    def rewind(self, step: int) -> None:
        """Go back to `step`, to write later frames again; -1 goes back to the beginning.

        Readers keep seeing the old objects until the new ones have caught up. Objects of later frames may be missing.

        Raises:
            Problem: 503 if a frame up to `step` is missing.
        """
        if self._shown is None:
            self._shown = {writer.array.name: writer.written for writer in self._writers}
            self._shown_sizes = self._sizes()
        for writer in self._writers:
            writer.rewind(writer.array.frames_up_to(step))

    def start_segment(self, step: int, facts: Mapping[str, Any]) -> None:
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
        """Encode everything that is recorded at `step`, and keep it in memory until the next flush.

        Args:
            step: the step.
            fields: recorded fields [H, W] or [H, W, d] in their stored dtypes.
            observables: value of each observable.

        Raises:
            ValueError: something is missing, out of order, or has another shape or dtype.
            Problem: 503 if earlier frames of a partial shard cannot be read.
        """
        recorded = [writer for writer in self._writers if step % writer.array.every == 0]
        for writer in recorded:
            writer.check(step, fields, observables or {})
        for writer in recorded:
            writer.append(fields, observables or {})

    def flush(self) -> dict[str, Any]:
        """Write all shards, partial ones included. Returns the manifest to commit."""
        for writer in self._writers:
            writer.write()
        own = {writer.array.name: writer.written for writer in self._writers}
        if self._shown and all(own[name].frames >= seen.frames for name, seen in self._shown.items()):
            self._shown = None
        manifest: dict[str, Any] = {
            "version": VERSION,
            "arrays": {name: objects.as_dict() for name, objects in (self._shown or own).items()},
            "attributes": self._attributes,
        }
        return manifest | ({"next": {n: s.as_dict() for n, s in own.items()}} if self._shown else {})

    @property
    def stored_bytes(self) -> int:
        """Size in bytes of all objects that the manifest of the last `flush()` names."""
        return sum((self._sizes() | (self._shown_sizes if self._shown else {})).values())

    def superseded(self) -> list[str]:
        """Return keys that the manifest just committed no longer names. Each key is returned once."""
        shown = self._shown_partials()
        keys: list[str] = []
        for writer in self._writers:
            keys += [key for key in writer.superseded if key not in shown]
            writer.superseded = [key for key in writer.superseded if key in shown]
        if self._has_predecessors and self._shown is None:
            keys += self._obsolete()
            self._has_predecessors = False
        return keys

    def _sizes(self) -> dict[str, int]:
        return {key: size for writer in self._writers for key, size in writer.sizes.items()}

    def _shown_partials(self) -> set[str]:
        """Return the keys of partial objects that readers still see, because the new frames have not caught up."""
        arrays = [(writer.array, self._shown[writer.array.name]) for writer in self._writers] if self._shown else []
        return {s.key(self._job_id, array, s.partial.shard) for array, s in arrays if s.partial}

    def _obsolete(self) -> list[str]:
        """List objects of earlier epochs that were never committed, or were written again since."""
        found = []
        for writer in self._writers:
            needed = set(writer.written.keys(self._job_id, writer.array))
            prefix = f"{job_prefix(self._job_id)}{writer.array.name}/"
            found += [k for k in self._store.list(prefix) if k not in needed and epoch_of(k) < self._epoch]
        return found


class _ArrayWriter:
    """Writes the objects of one array.

    Attributes:
        array: the array.
        written: objects in the store, committed or not.
        sizes: size in bytes of every object in `written`.
        superseded: keys of partial objects that newer ones have replaced.

    `_parts` are encoded frames after the last whole shard. Those of a committed partial shard are read when they are
    needed, which a rewind may avoid.
    """

    def __init__(
        self, store: Store, job_id: str, epoch: int, array: ArraySpec, written: CommittedArray, sizes: Mapping[str, int]
    ):
        self.array, self.written = array, written
        self.sizes = {key: sizes.get(key, 0) for key in written.keys(job_id, array)}
        self.superseded: list[str] = []
        self._store, self._job_id, self._epoch = store, job_id, epoch
        self._parts: list[bytes] = []
        self._loaded = False

    def rewind(self, frames: int) -> None:
        if frames > self.written.frames:
            raise Problem(
                503,
                "Frames missing",
                f"job {self._job_id}: {self.array.name!r} has {self.written.frames} committed frames; "
                f"going on from the checkpoint needs {frames}",
            )
        if frames < self.written.frames or self._unsaved() or not self._loaded:
            self._load(frames)

    def check(self, step: int, fields: Mapping[str, NDArray[Any]], observables: Mapping[str, float]) -> None:
        array = self.array
        if not self._loaded:
            self._load(self.written.frames)
        following = (self.written.whole + len(self._parts)) * array.every
        if step != following:
            raise ValueError(f"step {step} of {array.name!r}: the next one is {following}")
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

    def write(self) -> None:
        """Write each object before `written` names it, so that a failed call can be repeated."""
        if not self._loaded:
            return
        n = self.array.per_shard
        while len(self._parts) >= n:
            self._put(self.written.with_whole(self.array, self._epoch), self._parts[:n])
            del self._parts[:n]
        if self._unsaved():
            self._put(self.written.with_partial(self.array, self._epoch, len(self._parts)), self._parts)

    def _unsaved(self) -> int:
        """Count the appended frames that no object of the store holds yet."""
        return self.written.whole + len(self._parts) - self.written.frames

    def _put(self, written: CommittedArray, parts: Sequence[bytes]) -> None:
        """Write the last object of `written`, which then replaces `self.written`."""
        shard = (written.frames - 1) // self.array.per_shard
        data = pack_table(parts) if self.array.is_table else pack_shard(parts, self.array.per_shard)
        key = written.key(self._job_id, self.array, shard)
        self._store.put(key, data)
        self.sizes[key] = len(data)
        if old := self.written.partial:
            replaced = shard_key(self._job_id, self.array.name, old.shard, old.epoch, old.frames)
            self.superseded.append(replaced)
            self.sizes.pop(replaced, None)
        self.written = written

    def _load(self, frames: int) -> None:
        """Continue after the first `frames` frames; those of a partial shard are read into memory."""
        shard, rest = divmod(frames, self.array.per_shard)
        parts = self._read(shard, rest) if rest else []
        if frames < self.written.frames:
            self.written = self.written.only_whole(self.array, shard)
            self.sizes = {key: self.sizes[key] for key in self.written.keys(self._job_id, self.array)}
        self._parts, self._loaded = parts, True

    def _read(self, shard: int, frames: int) -> list[bytes]:
        """Read the first encoded frames of a committed shard."""
        array, key = self.array, self.written.key(self._job_id, self.array, shard)
        try:
            data = self._store.get(key)
            if array.is_table:
                return [row.tobytes() for row in parse_table(data, len(array.columns), frames)[:frames]]
            return split_shard(data, array.per_shard, frames)
        except (Missing, DamagedError) as error:
            raise Problem(503, "Frames unreadable", f"committed object {key!r}: {error}") from error
