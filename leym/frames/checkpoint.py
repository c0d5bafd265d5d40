"""Checkpoints: a run's whole state at a step, in one object that is checked by its digest.

While a job lives its row names the last two. An object can be lost or spoilt when it is needed, and then the job goes
on from the one before it:

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

KEPT = 2  # of a live job


class CorruptCheckpoint(Problem):
    """A checkpoint that is missing or not what was written (503)."""

    def __init__(self, key: str, why: str):
        super().__init__(503, "Checkpoint unreadable", f"checkpoint {key!r} {why}")


def put_checkpoint(
    store: Store,
    job_id: str,
    epoch: int,
    step: int,
    arrays: Mapping[str, NDArray[Any]],
    previous: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Write it, durable on return; gives the reference to commit, with the one that was committed before it."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:  # what np.savez writes, for arrays of any name
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asarray(array), allow_pickle=False)
    data = file.getvalue()
    key = f"{_folder(job_id)}{step:09d}.{epoch}"
    store.put(key, data)
    new = {"key": key, "step": step, "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    older = chained([ref for ref in references(previous) if ref["key"] != key][: KEPT - 1])
    return new | ({"previous": older} if older else {})


def references(ref: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """The checkpoints that a row names, the newest first, each by itself."""
    if not ref:
        return []
    return [{name: ref[name] for name in ref if name != "previous"}, *references(ref.get("previous"))]


def chained(refs: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """What a row says of these checkpoints, the newest first: of more than are kept the older ones are left out."""
    if not refs:
        return None
    older = chained(refs[1:KEPT])
    return refs[0] | ({"previous": older} if older else {})


def get_checkpoint(store: Store, ref: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """The arrays, bit for bit. Raises CorruptCheckpoint; OSError when the store does not answer."""
    key = ref["key"]
    try:
        data = store.get(key)
    except Missing as error:
        raise CorruptCheckpoint(key, "is missing") from error
    if hashlib.sha256(data).hexdigest() != ref["sha256"]:
        raise CorruptCheckpoint(key, f"has {len(data)} bytes that are not the {ref['bytes']} that were written")
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def stale_checkpoints(store: Store, job_id: str, ref: Mapping[str, Any]) -> list[str]:
    """Keys of the job's checkpoints that `ref` does not name; to delete after it is committed.

    Those of a later epoch are not ours to delete: the job may have been claimed again since.
    """
    named, epoch = {one["key"] for one in references(ref)}, epoch_of(ref["key"])
    return [key for key in store.list(_folder(job_id)) if key not in named and epoch_of(key) <= epoch]


def is_checkpoint(key: str) -> bool:
    """Whether an object of a job is one of its checkpoints."""
    return key.split("/")[2:3] == ["checkpoints"]


def _folder(job_id: str) -> str:
    return f"{job_prefix(job_id)}checkpoints/"
