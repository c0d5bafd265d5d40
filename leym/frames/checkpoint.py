"""Checkpoints: the whole state of a run at a step, in one object with a digest.

The row of a live job refers to the last two. If the newest object is missing or damaged when the job resumes, the job
goes on from the previous one:

    {"key": "jobs/<id>/checkpoints/000000400.2", "step": 400, "sha256": ..., "bytes": ..., "previous": {"key": ...}}
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leym.contract.problems import Problem
from leym.frames.layout import job_prefix
from leym.frames.manifest import epoch_of
from leym.frames.stores.base import Missing, Store

KEPT = 2  # checkpoints of a live job
FOLDER = "checkpoints"


class CorruptCheckpoint(Problem):
    """A checkpoint that is missing or damaged (503)."""

    def __init__(self, key: str, why: str):
        super().__init__(503, "Checkpoint unreadable", f"checkpoint {key!r} {why}")


def put_checkpoint(
    store: Store,
    job_id: str,
    epoch: int,
    step: int,
    arrays: Mapping[str, NDArray[Any]],
    previous: Mapping[str, Any] | None = None,
    places: NDArray[np.int64] | None = None,
    folder: str = FOLDER,
) -> dict[str, Any]:
    """Write a checkpoint; it is durable when the function returns.

    Args:
        store: object store of the service.
        job_id: the job.
        epoch: epoch of the writer's claim.
        step: step of the state.
        arrays: the state, by name.
        previous: reference that was committed last.
        places: members of a block that the state is of; None for a job of its own.
        folder: folder of the object below that of the job.

    Returns:
        The reference to commit; it contains that of the previous checkpoint.
    """
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:  # the format of np.savez, which reserves some names
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asarray(array), allow_pickle=False)
    data = file.getvalue()
    group = "" if places is None else f"-{places[0]}-{len(places)}"  # members only leave: the two tell groups apart
    key = f"{job_prefix(job_id)}{folder}/{step:09d}{group}.{epoch}"
    store.put(key, data)
    new = {"key": key, "step": step, "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    older = chain_references([ref for ref in references(previous) if ref["key"] != key][: KEPT - 1])
    return new | ({"previous": older} if older else {})


def references(ref: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """Split the reference of a row into one per checkpoint, newest first; of a block, group by group."""
    if not ref:
        return []
    if "groups" in ref:
        return [one for group in ref["groups"] for one in references(group)]
    return [{name: ref[name] for name in ref if name != "previous"}, *references(ref.get("previous"))]


def chain_references(refs: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """Combine references, newest first, into the one of a row; drops those beyond `KEPT`."""
    if not refs:
        return None
    older = chain_references(refs[1:KEPT])
    return refs[0] | ({"previous": older} if older else {})


def get_checkpoint(store: Store, ref: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """Read the arrays of a checkpoint, bit for bit.

    Raises:
        CorruptCheckpoint: the object is missing or damaged.
        OSError: the store does not answer.
    """
    key = ref["key"]
    try:
        data = store.get(key)
    except Missing as error:
        raise CorruptCheckpoint(key, "is missing") from error
    if hashlib.sha256(data).hexdigest() != ref["sha256"]:
        raise CorruptCheckpoint(key, f"has {len(data)} bytes that are not the {ref['bytes']} that were written")
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def stale_checkpoints(store: Store, job_id: str, epoch: int, ref: Mapping[str, Any] | None) -> list[str]:
    """List the keys of checkpoints that the committed `ref` no longer names, and that the caller may delete.

    Checkpoints of an epoch later than the caller's are excluded: another worker may have claimed the job since.
    """
    named = {one["key"] for one in references(ref)}
    return [key for key in store.list(_folder(job_id)) if key not in named and epoch_of(key) <= epoch]


def is_checkpoint(key: str) -> bool:
    """Return True if the key of a job's object is that of a checkpoint."""
    return key.split("/")[2:3] == [FOLDER]


def _folder(job_id: str) -> str:
    return f"{job_prefix(job_id)}{FOLDER}/"
