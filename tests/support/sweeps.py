"""A sweep whose blocks are written step by step, with an oracle of numpy arrays, and its Zarr store over HTTP."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np

from leym.contract.member_states import MemberState, MemberStates
from leym.contract.ranges import pack_ranges
from leym.contract.records import Job, JobState
from leym.frames import sweep_zarr
from leym.frames.layout import arrays_of
from leym.frames.stores.base import Store
from leym.frames.writer import FrameWriter
from tests.support.blocks import block_row
from tests.support.zarr_server import serving

RECORD: dict[str, Any] = {
    "record": [{"field": "phase", "every": 5, "dtype": "float16"}],
    "observe": {"every": 5, "names": ["activity"]},
}
SPEC: dict[str, Any] = {"grid": [4, 6], "steps": 10, **RECORD}


@dataclass
class Plan:
    """The members of a sweep, as `leym.contract.sweep_plan.SweepPlan` gives them."""

    axes: dict[str, Any]
    mode: str = "product"

    @property
    def size(self) -> int:
        lengths = [len(values) for values in self.axes.values()]
        return int(np.prod(lengths)) if self.mode == "product" else lengths[0]

    def value(self, key: str, index: int) -> Any:
        if self.mode != "product":
            return self.axes[key][index]
        positions = np.unravel_index(index, [len(values) for values in self.axes.values()])
        return self.axes[key][int(positions[list(self.axes).index(key)])]

    def groups(self, keys: Sequence[str]) -> Iterator[np.ndarray]:
        found: dict[str, list[int]] = {}
        for index in range(self.size):
            found.setdefault(json.dumps([self.value(key, index) for key in keys]), []).append(index)
        yield from (np.array(indices) for indices in found.values())


def phase(step: int, index: int, shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng([step, index]).normal(size=shape).astype(np.float16)


def activity(step: int, index: int) -> float:
    return step + index / 100


class WrittenBlock:
    """One block of the sweep: groups of members go on, and commits."""

    def __init__(self, store: Store, id: str, indices: Sequence[int], d_state: int = 3, **spec: Any):
        self.store, self.indices = store, np.array(sorted(indices))
        row = block_row(len(self.indices), pack_ranges(self.indices), **spec)
        self.row = dataclasses.replace(row, id=id, sweep="s" * 26, d_state=d_state)
        self.states = MemberStates.new(len(self.indices))
        self.arrays = arrays_of(self.row)
        self.writer = FrameWriter(store, id, 1, self.arrays, members=len(self.indices))

    def write(self, steps: int, places: Sequence[int]) -> None:
        """Record all steps of some members up to one that is due."""
        for step in range(steps + 1):
            due = [array for array in self.arrays if step % array.every == 0]
            ahead = [place for place in places if self.states.step[place] < step]
            if not due or not ahead:
                continue
            members = self.indices[ahead].tolist()
            fields = {a.name: np.stack([phase(step, m, a.shape) for m in members]) for a in due if not a.is_table}
            numbers = {name: np.array([activity(step, m) for m in members]) for a in due for name in a.columns}
            self.writer.append(step, ahead, fields, numbers)
        self.states.step[list(places)] = np.maximum(self.states.step[list(places)], steps)

    def commit(self, state: JobState = JobState.RUNNING) -> None:
        manifest = json.loads(json.dumps(self.writer.flush()))
        self.row = dataclasses.replace(self.row, manifest=manifest, member_states=self.states.text(), state=state)
        self.store.delete(self.writer.superseded())

    def end(self, places: Sequence[int], state: MemberState, **how: Any) -> None:
        self.states.end(list(places), state, **how)
        self.writer.end(list(places))


def http(store: Store, plan: Any, load: Callable[[], Sequence[Job]]) -> AbstractContextManager[str]:
    """Serve the Zarr store of a sweep; its URL."""
    return serving(lambda path: sweep_zarr.find(store, plan, load, path).body)


def object_at(path: str, store: Any, plan: Plan, blocks: Sequence[WrittenBlock]) -> bytes:
    """Return the object at `path` of the sweep's Zarr hierarchy."""
    return sweep_zarr.find(store, plan, lambda: [block.row for block in blocks], path).body
