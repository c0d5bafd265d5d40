"""What runs record at a step: computed on the device, fetched by the stream.

A CPU computes the universes that are due one by one. A GPU computes all lanes of the batch at once, due or not, since
its time goes into launches; either way a universe's bits do not depend on who else is due.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from numpy.typing import NDArray

from leym.engine.device_stream import Stream
from leym.physics.observables import StateView

if TYPE_CHECKING:
    from leym.engine.batch import Batch, Slot

Recorded = Callable[[], tuple[dict[str, NDArray[Any]], dict[str, float]]]  # fields in their stored dtype; observables


@torch.no_grad()
def record(batch: Batch, slots: list[Slot], stream: Stream, *, together: bool) -> list[tuple[Slot, Recorded, int]]:
    """Of those slots for which anything is due at their present step: what, and how many bytes.

    Slots at step 0 have no step before, so they are not recorded together with others.
    """
    due = [slot for slot in slots if any(slot.run.due(slot.step)) and slot.step > slot.run.recorded]
    if together and all(slot.step for slot in due):
        return _record(batch, due, slice(None), stream) if due else []
    return [one for slot in due for one in _record(batch, [slot], slice(slot.index, slot.index + 1), stream)]


def _record(batch: Batch, slots: list[Slot], lanes: slice, stream: Stream) -> list[tuple[Slot, Recorded, int]]:
    """slots: all due, all within `lanes`."""
    started = all(slot.step for slot in slots)
    state = StateView(batch.state[lanes], batch.previous[lanes] if started else None, batch.origin[lanes])
    due = [slot.run.due(slot.step) for slot in slots]
    fields = sorted({(r.field, r.stored_dtype) for recordings, _ in due for r in recordings})
    observables = sorted({name for _, names in due for name in names})
    tensors = [state.field(field).to(getattr(torch, dtype)) for field, dtype in fields]
    if observables:
        tensors.append(torch.stack([state.observable(name) for name in observables], dim=1))
    if len(slots) < tensors[0].shape[0]:
        rows = torch.tensor([slot.index for slot in slots], device=tensors[0].device)
        tensors = [tensor.index_select(0, rows) for tensor in tensors]
    arrays = stream.fetch(tensors)

    def recorded(row: int) -> tuple[dict[str, NDArray[Any]], dict[str, float]]:
        found, (recordings, names) = arrays(), due[row]
        mine = {r.field: found[fields.index((r.field, r.stored_dtype))][row] for r in recordings}
        return mine, {name: float(found[-1][row, observables.index(name)]) for name in names}

    sizes = {kind: tensor[0].nbytes for kind, tensor in zip(fields, tensors, strict=False)}
    return [
        (slot, lambda row=row: recorded(row), sum(sizes[r.field, r.stored_dtype] for r in due[row][0]))  # type: ignore[misc]
        for row, slot in enumerate(slots)
    ]
