"""A small job and someone who writes it, crashes included, for the tests of the frame store."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from leym.contract.spec import JobSpec
from leym.frames import zarr_gateway
from leym.frames.layout import arrays_of
from leym.frames.reader import FrameReader
from leym.frames.writer import FrameWriter

SPEC = {
    "law": "tiny",
    "grid": [4, 6],
    "steps": 10_000,
    "record": [{"field": "psi", "every": 1}, {"field": "phase", "every": 2, "dtype": "float16"}],
    "observe": {"every": 1, "names": ["activity", "coherence"]},
}
PSI_BYTES = 4 * 6 * 3 * 8
IN_CHUNK = 3  # frames of psi, of which four are in a shard: some chunks are parts of two objects


@dataclass(frozen=True)
class Row:
    """A row of the job table, as far as this package looks."""

    id: str = "j" * 26
    state: str = "running"
    step: int = -1
    spec: dict[str, Any] = field(default_factory=lambda: JobSpec.model_validate(SPEC).model_dump(mode="json"))
    law: str = "tiny@" + "0" * 64
    precision: str = "fp32"
    fidelity: str = "exact"
    d_state: int = 3
    manifest: dict[str, Any] = field(default_factory=dict)
    deleted_at: float | None = None
    members: int = 1
    block: str | None = None
    place: int = 0

    def gone(self, now: float) -> str | None:
        return None if self.deleted_at is None else "were deleted"


def frame(step: int) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """What a run records at a step: the same whenever it is run again."""
    rng = np.random.default_rng(step)
    psi = (rng.normal(size=(4, 6, 3)) + 1j * rng.normal(size=(4, 6, 3))).astype(np.complex64)
    fields = {"psi": psi}
    if step % 2 == 0:
        fields["phase"] = rng.normal(size=(4, 6)).astype(np.float16)
    return fields, {"activity": step / 7, "coherence": -float(step)}


def append_one(writer: FrameWriter, step: int, fields: dict[str, np.ndarray], observables: dict[str, float]) -> None:
    """Append what a job of its own records at a step."""
    numbers = {name: np.array([value]) for name, value in observables.items()}
    writer.append(step, [0], {name: values[None] for name, values in fields.items()}, numbers)


class Writing:
    """A job that is being written: appends, flushes, commits, and claims of another worker."""

    def __init__(self, store):
        self.store, self.row, self.epoch = store, Row(), 1
        self.arrays = arrays_of(self.row)
        self.writer = FrameWriter(store, self.row.id, 1, self.arrays, None)
        self.at, self.checkpoint = -1, -1

    def steps(self, n: int) -> None:
        for _ in range(n):
            self.at += 1
            append_one(self.writer, self.at, *frame(self.at))

    def commit(self) -> None:
        manifest = json.loads(json.dumps(self.writer.flush()))
        self.row = dataclasses.replace(self.row, manifest=manifest, step=max(self.at, self.row.step))
        self.store.delete(self.writer.superseded())

    def crash(self) -> None:
        """Another worker goes on from the checkpoint."""
        self.epoch += 1
        self.writer = FrameWriter(self.store, self.row.id, self.epoch, self.arrays, self.row.manifest)
        self.writer.rewind([0], self.checkpoint)
        self.at = self.checkpoint

    def check(self, reader: FrameReader, *, growing: bool = False) -> int:
        """Everything that readers are shown is right; returns how many frames of psi. growing: more may be committed
        from one of these readings to the next."""
        steps, psi = reader.read("psi")
        for step, found in zip(steps.tolist(), psi, strict=True):
            assert np.array_equal(found, frame(step)[0]["psi"])
        steps2, phase = reader.read("phase")
        for step, found in zip(steps2.tolist(), phase, strict=True):
            assert np.array_equal(found, frame(step)[0]["phase"])
        at, numbers = reader.observables()
        assert numbers["activity"].tolist() == [step / 7 for step in at.tolist()]
        assert len(at) == len(steps) or (growing and len(at) > len(steps))
        return len(steps)


def asked(job: Writing, path: str) -> bytes:
    """The object at `path` of the job's Zarr hierarchy."""
    return zarr_gateway.find(job.store, lambda: job.row, path).body
