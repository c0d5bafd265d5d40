"""What of a job's objects nobody will read again.

A row and a listing are enough to tell, in whichever order and however long ago they were taken: an object of an epoch
that is over is named by the manifest or never will be. Only the epoch that runs may yet commit what it has written.
"""

from __future__ import annotations

from collections.abc import Iterable

from leym.contract.records import Job
from leym.frames.checkpoint import references
from leym.frames.layout import arrays_of
from leym.frames.manifest import epoch_of, series_of
from leym.frames.stores.base import Entry


def garbage(job: Job, objects: Iterable[Entry]) -> list[Entry]:
    """Of these objects of the job: those of epochs that are over which its row does not name.

    Objects that this package did not name are left alone. Raises ValueError if the row is not of this version.
    """
    named, over = needed(job), job.epoch + job.final
    return [entry for entry in objects if entry.key not in named and _written_before(entry.key, over)]


def needed(job: Job) -> set[str]:
    """Keys that the row names: frames that readers see, frames that are written again after a resume, checkpoints.

    None of a job whose results were deleted or have expired, for its row names nothing any more.
    """
    arrays = arrays_of(job)
    parts = (series_of(job.manifest, arrays, part) for part in ("arrays", "next"))
    keys = {key for series in parts for array in arrays for key in series[array.name].keys(job.id, array)}
    return keys | {ref["key"] for ref in references(job.checkpoint)}


def named_bytes(job: Job, objects: Iterable[Entry]) -> int:
    """Of these objects of the job, what those take that its row names. Raises like `garbage`."""
    named = needed(job)
    return sum(entry.size for entry in objects if entry.key in named)


def _written_before(key: str, epoch: int) -> bool:
    try:
        return epoch_of(key) < epoch
    except (IndexError, ValueError):
        return False
