"""Frames of a job that continues another one: they begin after its first state, and a second worker may begin again."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from leym.contract.spec import JobSpec
from leym.frames.layout import arrays_of
from leym.frames.reader import FrameReader
from leym.frames.stores.open import open_store
from leym.frames.writer import FrameWriter
from tests.support.frames import SPEC, Row, append_one, frame


def row_of(begins_at: int, steps: int) -> Row:
    start = {"kind": "continue", "job": "0" * 26, "step": begins_at}
    spec = JobSpec.model_validate(SPEC | {"steps": steps, "initial": start})
    return Row(spec=spec.model_dump(mode="json"), step=begins_at)


@settings(max_examples=40, deadline=None)
@given(begins_at=st.integers(0, 40), first=st.integers(0, 30), kept=st.integers(0, 30), left=st.integers(1, 30))
def test_every_step_after_the_first_state_is_read_once_whatever_is_written_again(begins_at, first, kept, left):
    """A worker writes `first` steps and is killed; the next one goes on from a checkpoint after `kept` of them."""
    store, row = open_store("memory://"), row_of(begins_at, begins_at + first + left)
    arrays, end, back = arrays_of(row), begins_at + first + left, begins_at + min(kept, first)

    def write(writer: FrameWriter, since: int, until: int) -> None:
        for step in range(since + 1, until + 1):
            append_one(writer, step, *frame(step))

    writer = FrameWriter(store, row.id, 1, arrays, None)
    write(writer, begins_at, begins_at + first)
    manifest = writer.flush()
    shown = Row(spec=row.spec, step=begins_at + first, manifest=manifest)
    assert FrameReader(store, shown).steps("psi").tolist() == list(range(begins_at + 1, begins_at + first + 1))

    writer = FrameWriter(store, row.id, 2, arrays, manifest)
    writer.rewind([0], back)
    write(writer, back, end)
    reader = FrameReader(store, Row(spec=row.spec, step=end, manifest=writer.flush()))
    steps, psi = reader.read("psi")
    assert steps.tolist() == list(range(begins_at + 1, end + 1))
    assert all(np.array_equal(found, frame(step)[0]["psi"]) for step, found in zip(steps.tolist(), psi, strict=True))
    steps, phase = reader.read("phase")
    assert steps.tolist() == [step for step in range(begins_at + 1, end + 1) if step % 2 == 0]
    assert all(
        np.array_equal(found, frame(step)[0]["phase"]) for step, found in zip(steps.tolist(), phase, strict=True)
    )
    steps, columns = reader.observables(start=begins_at + 2)
    assert steps.tolist() == list(range(begins_at + 2, end + 1))
    assert columns["activity"].tolist() == [step / 7 for step in steps.tolist()]
