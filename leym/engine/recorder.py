"""Computes what runs record at a step, on the device, and starts its copy to the host.

A CPU computes the universes with something due one by one. A GPU computes all rows of the batch at once, due or not,
since its time goes into launches. Either way the bits of a universe do not depend on which others are due.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from numpy.typing import NDArray

from leym.engine.device_stream import DeviceStream
from leym.physics.observables import StateView

if TYPE_CHECKING:
    from leym.engine.batch import Batch, Slot


@dataclass(frozen=True)
class Recorded:
    """Fields and observables that a run recorded at one step.

    Attributes:
        fetch: blocks until the copies have arrived, then returns the fields in their stored dtype and the observables.
        nbytes: size of the fields.
    """

    fetch: Callable[[], tuple[dict[str, NDArray[Any]], dict[str, float]]]
    nbytes: int


@torch.no_grad()
def record(batch: Batch, slots: list[Slot], stream: DeviceStream, *, together: bool) -> list[tuple[Slot, Recorded]]:
    """Record the slots that have something due at their present step and have not delivered it before.

    Args:
        batch: the batch of the slots.
        slots: the slots to look at.
        stream: the device's stream.
        together: compute all rows of the batch at once. Slots at step 0 have no step before, so they are always
            computed by themselves.
    """
    due = [slot for slot in slots if any(slot.run.due(slot.step)) and slot.step > slot.run.recorded]
    if together and all(slot.step for slot in due):
        return _record(batch, due, slice(None), stream) if due else []
    return [one for slot in due for one in _record(batch, [slot], slice(slot.index, slot.index + 1), stream)]


def _record(batch: Batch, slots: list[Slot], rows: slice, stream: DeviceStream) -> list[tuple[Slot, Recorded]]:
    """Record slots that all have something due and all lie within `rows`."""
    started = all(slot.step for slot in slots)
    state = StateView(batch.state[rows], batch.previous[rows] if started else None, batch.origin[rows])
    due = [slot.run.due(slot.step) for slot in slots]
    fields = sorted({(r.field, r.stored_dtype) for recordings, _ in due for r in recordings})
    observables = sorted({name for _, names in due for name in names})
    tensors = [state.field(field).to(getattr(torch, dtype)) for field, dtype in fields]
    if observables:
        tensors.append(torch.stack([state.observable(name) for name in observables], dim=1))
    if len(slots) < tensors[0].shape[0]:
        chosen = torch.tensor([slot.index for slot in slots], device=tensors[0].device)
        tensors = [tensor.index_select(0, chosen) for tensor in tensors]
    arrays = stream.fetch(tensors)

    def fetch(i: int) -> tuple[dict[str, NDArray[Any]], dict[str, float]]:
        found, (recordings, names) = arrays(), due[i]
        own = {r.field: found[fields.index((r.field, r.stored_dtype))][i] for r in recordings}
        return own, {name: float(found[-1][i, observables.index(name)]) for name in names}

    sizes = {kind: tensor[0].nbytes for kind, tensor in zip(fields, tensors, strict=False)}
    nbytes = [sum(sizes[r.field, r.stored_dtype] for r in recordings) for recordings, _ in due]
    return [(slot, Recorded(partial(fetch, i), nbytes[i])) for i, slot in enumerate(slots)]
