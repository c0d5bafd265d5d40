"""Whether the objects that a row of the job table names are there and are what was written.

What is missing here may have been replaced by a commit since the row was read. Names never repeat, and an object is
removed only after a commit that no longer names it: what is missing, and named by the row when it is read again
afterwards, is lost.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from leym.contract.records import Job
from leym.frames.checkpoint import CorruptCheckpoint, chained, get_checkpoint, references
from leym.frames.layout import ArraySpec, arrays_of, job_prefix
from leym.frames.manifest import Series, series_of
from leym.frames.shards import Damaged, decode_frame, parse_table, split_shard
from leym.frames.stores.base import Missing, Store


@dataclass(frozen=True)
class Damage:
    """first_step: of the frames in the object; None if it is a checkpoint."""

    key: str
    why: str
    first_step: int | None = None


def damages(store: Store, job: Job, *, deep: bool = False) -> list[Damage]:
    """Of the objects that the row names: those that are missing or have another size than they can have.

    deep: all are read, and every checksum is checked. Of frames that are being written again after a resume only the
    new ones are looked at. Raises OSError when the store does not answer; ValueError, LookupError or TypeError if the
    row does not fit this program.
    """
    sizes = {entry.key: entry.size for entry in store.scan(job_prefix(job.id))}
    found = []
    for ref in references(job.checkpoint):
        if why := _wrong(sizes.get(ref["key"]), int(ref["bytes"])) or (_unreadable(store, ref) if deep else ""):
            found.append(Damage(ref["key"], why))
    for array, series, shard, key in _shards(job):
        if why := _wrong(sizes.get(key)) or (_undecodable(store, array, series, shard, key) if deep else ""):
            found.append(Damage(key, why, shard * array.per_shard * array.every))
    return found


def last_good(job: Job, found: list[Damage]) -> dict[str, Any] | None:
    """The newest checkpoint from which a live job writes everything again that is damaged; None: from step 0."""
    bad = {damage.key for damage in found}
    steps = [damage.first_step for damage in found if damage.first_step is not None]
    good = [ref for ref in references(job.checkpoint) if ref["key"] not in bad]
    return chained([ref for ref in good if not steps or int(ref["step"]) < min(steps)])


def _shards(job: Job) -> Iterator[tuple[ArraySpec, Series, int, str]]:
    arrays = arrays_of(job)
    part = "next" if "next" in job.manifest and not job.final else "arrays"
    committed = series_of(job.manifest, arrays, part)
    for array in arrays:
        for shard, key in enumerate(committed[array.name].keys(job.id, array)):
            yield array, committed[array.name], shard, key


def _wrong(size: int | None, expected: int | None = None) -> str:
    if size is None:
        return "is missing"
    if size == 0 or (expected is not None and size != expected):
        return f"has {size} bytes" + ("" if expected is None else f"; {expected} were written")
    return ""


def _unreadable(store: Store, ref: dict[str, Any]) -> str:
    try:
        get_checkpoint(store, ref)
    except CorruptCheckpoint as error:
        return error.detail
    return ""


def _undecodable(store: Store, array: ArraySpec, series: Series, shard: int, key: str) -> str:
    try:
        data, frames = store.get(key), series.frames_in(array, shard)
        if array.is_table:
            parse_table(data, len(array.columns), frames)
        else:
            for part in split_shard(data, array.per_shard, frames):
                decode_frame(part, array.dtype, array.shape)
    except Missing:
        return "is missing"
    except Damaged as error:
        return str(error)
    return ""
