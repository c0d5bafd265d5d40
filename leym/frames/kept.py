"""Kept states: states of a job at chosen steps, which stay with its results.

Each is one object with everything that a continuation needs, in the format of a checkpoint. The manifest of the row
names them, of a block with the members that an object has:

    "states": [{"key": "jobs/<id>/states/000000400.2", "step": 400, "sha256": ..., "bytes": ..., "members": "0-3"}, ...]

Other jobs can also go on from recorded frames of `psi` and from the last state (`leym.frames.last`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from leym.contract.problems import Problem
from leym.contract.ranges import pack_ranges, unpack_ranges
from leym.contract.records import Job
from leym.frames.checkpoint import get_checkpoint, put_checkpoint
from leym.frames.last import last_arrays_of_state, last_state_step
from leym.frames.layout import arrays_of
from leym.frames.manifest import committed_arrays, visible_frames
from leym.frames.reader import FrameReader
from leym.frames.stores.base import Store

FOLDER = "states"

Kind = Literal["checkpoint", "recorded", "last"]


@dataclass(frozen=True)
class KeptState:
    """A state from which other jobs can go on.

    Attributes:
        step: its step.
        kind: "checkpoint" for one that `keep_states` asked for, "recorded" for a frame of psi, "last" for that at the
            end of the job.
        bytes: size of psi and of the memory in bytes; of a checkpoint of several members, the share of one.
    """

    step: int
    kind: Kind
    bytes: int


class KeptStates:
    """The kept states that a row names, while its writer adds to them.

    Args:
        manifest: manifest of the row.
    """

    def __init__(self, manifest: Mapping[str, Any] | None):
        self._refs: list[dict[str, Any]] = [dict(ref) for ref in kept_references(manifest)]

    def has(self, step: int, places: NDArray[np.int64], epoch: int) -> bool:
        """Return True if a state of these members at this step was written in this epoch."""
        found = [ref for ref in self._refs if ref["step"] == step and str(ref["key"]).endswith(f".{epoch}")]
        held = [unpack_ranges(str(ref.get("members", "0"))) for ref in found]
        return bool(held) and bool(np.isin(places, np.concatenate(held)).all())

    def add(self, ref: Mapping[str, Any], places: NDArray[np.int64], *, is_block: bool) -> list[str]:
        """Name a state. Returns the keys of objects that are not named any more, because it replaces them."""
        new = dict(ref) | ({"members": pack_ranges(places)} if is_block else {})
        kept, replaced = list[dict[str, Any]](), list[str]()
        for one in self._refs:
            if one["step"] == new["step"] and np.isin(unpack_ranges(str(one.get("members", "0"))), places).all():
                replaced.append(str(one["key"]))
            else:
                kept.append(one)
        self._refs = sorted([*kept, new], key=lambda one: int(one["step"]))
        return [key for key in replaced if key != new["key"]]

    def as_manifest(self) -> dict[str, Any]:
        """Return the part of the manifest that names them; empty without any."""
        return {"states": self._refs} if self._refs else {}

    def size(self) -> int:
        """Add up their bytes."""
        return sum(int(ref["bytes"]) for ref in self._refs)


def put_kept_state(
    store: Store,
    row_id: str,
    epoch: int,
    step: int,
    arrays: Mapping[str, NDArray[Any]],
    places: NDArray[np.int64] | None,
) -> dict[str, Any]:
    """Write a state to keep; it is durable when the function returns. Arguments are those of `put_checkpoint`."""
    return put_checkpoint(store, row_id, epoch, step, arrays, None, places, FOLDER)


def is_kept_state(key: str) -> bool:
    """Return True if the key of a job's object is that of a kept state."""
    return key.split("/")[2:3] == [FOLDER]


def kept_references(manifest: Mapping[str, Any] | None) -> Iterable[Mapping[str, Any]]:
    """Return the references of the kept states that a manifest names, in the order of their steps."""
    found: Iterable[Mapping[str, Any]] = (manifest or {}).get("states", ())
    return found


def kept_states(job: Job, most: int | None = None) -> list[KeptState]:
    """List the states of a job or member from which other jobs can go on, in the order of their steps.

    A step that is stored in several ways is listed once: a checkpoint and the last state come before a frame of psi.

    Args:
        job: the job.
        most: frames of psi that are listed at most, the first ones; None: all.
    """
    if job.is_training or job.is_fidelity:
        return []
    cells, found = job.cells * job.d_state * 8, dict[int, KeptState]()
    psi = _psi(job)
    if psi is not None:
        array, count = psi
        for frame in range(count if most is None else min(count, most)):
            found[array.step_of(frame)] = KeptState(array.step_of(frame), "recorded", cells)
    for ref in _own_references(job):
        members = len(unpack_ranges(str(ref.get("members", "0"))))
        found[int(ref["step"])] = KeptState(int(ref["step"]), "checkpoint", int(ref["bytes"]) // members)
    if (last := last_state_step(job)) is not None and last not in {
        s.step for s in found.values() if s.kind != "recorded"
    }:
        size = int(job.checkpoint["bytes"]) if job.checkpoint and job.block is None else cells
        found[last] = KeptState(last, "last", size)
    return [found[step] for step in sorted(found)]


def has_state(job: Job, step: int) -> bool:
    """Return True if the complete state of a job or member at a step is stored."""
    return state_kind(job, step) is not None


def state_kind(job: Job, step: int) -> Kind | None:
    """Return how the state of a job or member at a step is stored, which `load_state` reads; None if it is not."""
    if any(int(ref["step"]) == step for ref in _own_references(job)):
        return "checkpoint"
    if last_state_step(job) == step:
        return "last"
    psi = _psi(job)
    if psi is None or step % psi[0].every or not 0 <= psi[0].frame_at(step) < psi[1]:
        return None
    return "recorded"


def load_state(store: Store, job: Job, step: int) -> dict[str, NDArray[Any]]:
    """Read the state of a job or member at a step, bit for bit.

    Returns:
        psi, complex64 [H, W, d]; and memory, float32 [M, H/4, W/4], of a law that has one, unless only a frame of psi
        is stored.

    Raises:
        Problem: 404 if no such state is stored, 503 if it cannot be read.
        OSError: the store does not answer.
    """
    kind = state_kind(job, step)
    if kind == "checkpoint":
        ref = next(ref for ref in _own_references(job) if int(ref["step"]) == step)
        arrays = get_checkpoint(store, ref)
        if "members" in ref:
            row = int(np.flatnonzero(unpack_ranges(str(ref["members"])) == job.place)[0])
            arrays = {name: array[row] for name, array in arrays.items()}
        return {name: arrays[name] for name in ("psi", "memory") if name in arrays}
    if kind == "last":
        return last_arrays_of_state(store, job)
    if kind == "recorded":
        steps, frames = FrameReader(store, job).read("psi", step, step + 1)
        if len(steps):
            return {"psi": frames[0]}
    raise Problem(404, "Not found", f"job {job.id} keeps no state at step {step}; {describe_states(job)}")


def describe_states(job: Job) -> str:
    """Return a clause that says at which steps the complete state of a job is stored."""
    stored = []
    if psi := _psi(job):
        array, count = psi
        if count:
            since = f" from {array.step_of(0)}" if array.skipped else ""
            stored.append(f"every {array.every} steps{since} up to {job.step}")
    kept = sorted({int(ref["step"]) for ref in _own_references(job)})
    if kept:
        stored.append(
            f"at the kept steps {', '.join(map(str, kept[:10]))}" + (f", … {kept[-1]}" if len(kept) > 10 else "")
        )
    if (last := last_state_step(job)) is not None:
        stored.append(f"at its last step {last}")
    if not stored:
        return f"job {job.id} ({job.state}) has no psi recorded and no state kept"
    return f"job {job.id} has psi {' and '.join(stored)}"


def _psi(job: Job) -> tuple[Any, int] | None:
    """Return the array of psi with the number of its frames that can be read; None if it is not recorded."""
    arrays = arrays_of(job)
    array = next((array for array in arrays if array.name == "psi"), None)
    return (
        None if array is None else (array, visible_frames(job, committed_arrays(job.manifest, arrays), arrays)["psi"])
    )


def _own_references(job: Job) -> list[Mapping[str, Any]]:
    """Return the references of the kept states that a job, or a member, has a part of."""
    refs = list(kept_references(job.manifest))
    if job.block is None:
        return refs
    return [ref for ref in refs if job.place in unpack_ranges(str(ref.get("members", "0"))) and ref["step"] <= job.step]
