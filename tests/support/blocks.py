"""A small block of a sweep and someone who writes it, in groups and with crashes, for the tests of the frame store."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from typing import Any

import numpy as np

from leym.contract.member_states import MemberState, MemberStates
from leym.contract.records import Job, JobState
from leym.contract.spec import JobSpec
from leym.frames.layout import arrays_of
from leym.frames.reader import FrameReader
from leym.frames.stores.base import Store
from leym.frames.writer import FrameWriter

SPEC: dict[str, Any] = {
    "law": "tiny",
    "grid": [4, 6],
    "steps": 12,
    "record": [{"field": "psi", "every": 4}, {"field": "phase", "every": 2, "dtype": "float16"}],
    "observe": {"every": 3, "names": ["activity", "coherence"]},
}
RECORDED = [step for step in range(SPEC["steps"] + 1) if step % 2 == 0 or step % 3 == 0]


def block_row(members: int, indices: str | None = None, **spec: Any) -> Job:
    """A row of the job table for a block that has not started."""
    full = JobSpec.model_validate(SPEC | spec).model_dump(mode="json")
    names = {field.name for field in dataclasses.fields(Job)}
    empty: dict[str, Any] = dict.fromkeys(names)
    known = {
        "id": "b" * 26,
        "state": JobState.RUNNING,
        "step": 0,
        "steps": members * full["steps"],
        "spec": full,
        "law": "tiny@" + "0" * 64,
        "precision": "fp32",
        "fidelity": "exact",
        "d_state": 3,
        "manifest": {},
        "members": members,
        "indices": indices or f"0-{members - 1}",
        "place": 0,
        "epoch": 1,
    }
    return Job(**(empty | known))


def member_view(row: Job, place: int) -> Job:
    """The view of a member, as the job table makes it."""
    states = MemberStates.parse(row.member_states, row.members)
    step, state = int(states.step[place]), MemberState(int(states.state[place]))
    return dataclasses.replace(
        row,
        id=f"{place:026d}",
        state=row.state if state == MemberState.LIVE else JobState(state.name.lower()),
        step=max(step, 0),
        steps=row.spec["steps"],
        manifest=row.manifest if step >= 0 else {},
        members=1,
        block=row.id,
        place=place,
    )


def fields_at(step: int, place: int, version: int = 0) -> dict[str, np.ndarray]:
    """Results that a member records at a step; versions stand for kinds of devices, which have other bits."""
    rng = np.random.default_rng([step, place, version])
    found = {"phase": rng.normal(size=(4, 6)).astype(np.float16)} if step % 2 == 0 else {}
    if step % 4 == 0:
        found["psi"] = (rng.normal(size=(4, 6, 3)) + 1j * rng.normal(size=(4, 6, 3))).astype(np.complex64)
    return found


def numbers_at(step: int, place: int, version: int = 0) -> dict[str, float]:
    return {"activity": step + place / 7, "coherence": -step - version / 3} if step % 3 == 0 else {}


class WritingBlock:
    """A block that is being written: groups of members in lockstep, commits, ends, and claims of other workers.

    `bits` says for each member of which version the frames up to which step are: [(after, version), ...].
    """

    def __init__(self, store: Store, members: int, **spec: Any):
        self.store, self.row, self.members = store, block_row(members, **spec), members
        self.at = np.full(members, -1, np.int64)  # last recorded step of each member
        self.states = MemberStates.new(members)
        self.checkpoint = self.at.copy()
        self.version = 0
        self.bits: list[dict[int, int]] = [{} for _ in range(members)]  # of the writer: version by step
        self.kept: list[dict[int, int]] = [{} for _ in range(members)]  # at the checkpoint
        self.shown: list[dict[int, int]] = [{} for _ in range(members)]  # what readers must see
        self.writer = self._writer()

    def _writer(self) -> FrameWriter:
        row = self.row
        shown = MemberStates.parse(row.member_states, row.members).step
        arrays = arrays_of(row)
        return FrameWriter(self.store, row.id, row.epoch, arrays, row.manifest, members=self.members, shown=shown)

    def step(self, places: Iterable[int]) -> None:
        """Advance live members that are at the same step as the first of them by one recorded step."""
        live = [place for place in sorted(set(places)) if self.states.state[place] == MemberState.LIVE]
        group = [place for place in live if self.at[place] == self.at[live[0]] and self.at[place] < RECORDED[-1]]
        if not group:
            return
        step = next(step for step in RECORDED if step > self.at[group[0]])
        frames = [fields_at(step, place, self.version) for place in group]
        numbers = [numbers_at(step, place, self.version) for place in group]
        self.writer.append(
            step,
            group,
            {name: np.stack([frame[name] for frame in frames]) for name in frames[0]},
            {name: np.array([n[name] for n in numbers]) for name in numbers[0]},
        )
        self.at[group] = step
        for place in group:
            self.bits[place][step] = self.version

    def end(self, places: Iterable[int]) -> None:
        """Fail members; those at the end have succeeded."""
        for place in sorted(set(places)):
            if self.states.state[place] == MemberState.LIVE:
                done = self.at[place] == RECORDED[-1]
                self.states.end([place], MemberState.SUCCEEDED if done else MemberState.FAILED)
                if done:
                    psi = fields_at(RECORDED[-1], place, self.version)["psi"]
                    self.writer.append_last([place], psi[None], np.full((1, 2, 3), place, np.float32))
                else:
                    self.writer.end([place])
                    if self.at[place] < self.states.step[place]:  # readers keep what they saw
                        self.at[place], self.bits[place] = self.states.step[place], dict(self.shown[place])

    def commit(self, checkpoint: bool = False) -> None:
        manifest = json.loads(json.dumps(self.writer.flush()))
        for place in range(self.members):
            if self.at[place] >= self.states.step[place]:
                self.shown[place] = dict(self.bits[place])
        self.states.step = np.maximum(self.states.step, self.at)
        self.row = dataclasses.replace(self.row, manifest=manifest, member_states=self.states.text())
        if checkpoint:
            self.checkpoint, self.kept = self.at.copy(), [dict(bits) for bits in self.bits]
        self.store.delete(self.writer.superseded())

    def back(self, places: Iterable[int]) -> None:
        """Step some live members again from the checkpoint, by the same writer: their device ran out of memory."""
        chosen = [place for place in sorted(set(places)) if self.states.state[place] == MemberState.LIVE]
        for step in np.unique(self.checkpoint[chosen]).tolist():
            self.writer.rewind([place for place in chosen if self.checkpoint[place] == step], step)
        for place in chosen:
            self.at[place], self.bits[place] = self.checkpoint[place], dict(self.kept[place])

    def crash(self, other_device: bool = False) -> None:
        """Let another worker go on from the checkpoint."""
        self.row = dataclasses.replace(self.row, epoch=self.row.epoch + 1)
        self.states = MemberStates.parse(self.row.member_states, self.members)
        self.version += other_device
        self.writer = self._writer()
        self.bits = [dict(bits) for bits in self.kept]
        self.at = self.checkpoint.copy()
        ended = np.flatnonzero(self.states.state != MemberState.LIVE)
        for step in np.unique(self.at[self.states.live]).tolist():
            self.writer.rewind([place for place in self.states.live.tolist() if self.at[place] == step], step)
        self.writer.end(ended)
        for place in ended.tolist():
            self.at[place], self.bits[place] = self.states.step[place], dict(self.shown[place])

    def check(self) -> None:
        """Check that readers of every member see what was committed, of one run of the member only."""
        for place in range(self.members):
            view = member_view(self.row, place)
            reader = FrameReader(self.store, view)
            seen = self.shown[place]
            step = max(seen, default=-1)
            for name, every in (("psi", 4), ("phase", 2)):
                steps, frames = reader.read(name)
                assert steps.tolist() == list(range(0, step + 1, every)), (name, place)
                for at, frame in zip(steps.tolist(), frames, strict=True):
                    expected = fields_at(at, place, seen[at])[name]
                    assert np.array_equal(frame, expected), (name, place, at)
            steps, numbers = reader.observables()
            assert steps.tolist() == list(range(0, step + 1, 3))
            for i, at in enumerate(steps.tolist()):
                for name, value in numbers_at(at, place, seen[at]).items():
                    assert numbers[name][i] == value, (name, place, at)
