"""Garbage: objects of a job that nobody will read again.

A row and a listing are sufficient to recognise garbage, in whichever order and however long ago they were read. Only
the current epoch can still commit objects that it has written. An object of an earlier epoch that the row does not name
will never be named.
"""

from __future__ import annotations

from collections.abc import Iterable

from leym.contract.records import Job
from leym.frames.checkpoint import references
from leym.frames.kept import kept_references
from leym.frames.manifest import all_objects, epoch_of
from leym.frames.stores.base import Entry


def garbage(job: Job, objects: Iterable[Entry]) -> list[Entry]:
    """Return the objects of earlier epochs that the row of the job does not name.

    Objects whose keys do not come from this package are never garbage.

    Raises:
        ValueError: the manifest of the row has another version.
    """
    named, open_epoch = referenced_keys(job), job.epoch + job.final
    return [entry for entry in objects if entry.key not in named and _written_before(entry.key, open_epoch)]


def referenced_keys(job: Job) -> set[str]:
    """Return the keys that the row of a job names.

    They are those of visible frames, of frames that are written again after a resume, of last and of kept states, of
    checkpoints and of the curve of a training. The row of a job whose results were deleted or have expired names none.
    """
    parts = ("arrays", "next", "last")
    keys = {key for array, committed in all_objects(job, parts) for key in committed.keys(job.id, array)}
    curve = {job.manifest["curve"]["key"]} if "curve" in job.manifest else set()
    kept = {str(ref["key"]) for ref in kept_references(job.manifest)}
    return keys | curve | kept | {ref["key"] for ref in references(job.checkpoint)}


def referenced_bytes(job: Job, objects: Iterable[Entry]) -> int:
    """Add up the sizes of the objects that the row of the job names. Errors are those of `garbage`."""
    named = referenced_keys(job)
    return sum(entry.size for entry in objects if entry.key in named)


def _written_before(key: str, epoch: int) -> bool:
    try:
        return epoch_of(key) < epoch
    except (IndexError, ValueError):
        return False
