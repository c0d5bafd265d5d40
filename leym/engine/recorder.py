"""Computes what groups record at a step, on the device and all groups in one go, and starts its copy to the host.

The bits of a universe do not depend on which others are recorded with it. On a CPU only the rows with something due are
computed, in parts of RECORDED_TOGETHER (`leym.physics.observables` makes their bits independent of their number). A GPU
computes all rows of the batch, since its time goes into launches, and its reductions depend on their number.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from leym.contract.spec import Recording
from leym.engine.device_stream import DeviceStream, HostArrays
from leym.engine.run import STATE_HASH
from leym.engine.states import span
from leym.physics.elementwise import parts
from leym.physics.observables import StateView, state_hash

if TYPE_CHECKING:
    from leym.engine.batch import Batch, Group

RECORDED_TOGETHER = 2**22  # bytes of states: smaller parts cost more in calls, larger ones leave the caches
Fields = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Recorded:
    """Fields and observables that a group of n members recorded at one step.

    Attributes:
        fetch: blocks until the copies have arrived, then returns the fields [n, H, W(, d)] in their stored dtype, and
            the observables float64 [n].
        nbytes: size of the fields.
    """

    fetch: Callable[[], tuple[Fields, Fields]]
    nbytes: int


def record(batch: Batch, groups: Sequence[Group], stream: DeviceStream) -> list[tuple[Group, Recorded]]:
    """Record the groups that have something due at their present step and have not delivered it before.

    Args:
        batch: the batch of the groups.
        groups: the groups to look at: either all at step 0, or none.
        stream: the device's stream.
    """
    due = [group for group in groups if any(group.run.due(group.step)) and _is_new(group)]
    if not due:
        return []
    rows = np.concatenate([group.rows for group in due])
    wanted = [group.run.due(group.step) for group in due]
    fields = sorted({(r.field, r.stored_dtype) for recordings, _ in wanted for r in recordings})
    observed = {name for _, names in wanted for name in names}
    observables = sorted(observed - {STATE_HASH})
    compute = partial(_compute, batch, due[0].step > 0, fields, observables, STATE_HASH in observed)
    if batch.state.is_cuda:
        chosen = batch.index(rows)
        tensors = [tensor[chosen] for tensor in compute(slice(None))]
    else:
        some = parts(len(rows), batch.bytes_per_member, RECORDED_TOGETHER)
        computed = [compute(batch.index(rows[part])) for part in some]
        tensors = [torch.cat(of) for of in zip(*computed, strict=True)]
    arrays = stream.fetch(tensors)
    found, first = [], 0
    per_row = {field: tensor[0].nbytes for field, tensor in zip(fields, tensors, strict=False)}
    for group, (recordings, names) in zip(due, wanted, strict=True):
        own = slice(first, first + len(group.rows))
        first = own.stop
        nbytes = len(group.rows) * sum(per_row[r.field, r.stored_dtype] for r in recordings)
        fetch = partial(_fetch, arrays, own, recordings, names, fields, observables)
        found.append((group, Recorded(fetch, nbytes)))
    return found


@torch.no_grad()
def _compute(
    batch: Batch,
    started: bool,
    fields: Sequence[tuple[str, str]],
    observables: Sequence[str],
    hashed: bool,
    rows: slice | Tensor,
) -> list[Tensor]:
    """Compute the fields of some rows [n, H, W(, d)], then the observables [n, m] and the hashes [n] where wanted."""
    state = StateView(batch.state[rows], batch.previous[rows] if started else None, batch.origin[rows])
    tensors = [state.field(field).to(getattr(torch, dtype)) for field, dtype in fields]
    if observables:
        tensors.append(torch.stack([state.observable(name) for name in observables], dim=1))
    if hashed:
        tensors.append(state_hash(state.x))
    return tensors


def _is_new(group: Group) -> bool:
    """Return whether the group's present step is new, and not stepped again after a retry."""
    return bool(group.run.recorded[span(group.places)].min() < group.step)


def _fetch(
    arrays: HostArrays,
    own: slice,
    recordings: Sequence[Recording],
    names: Sequence[str],
    fields: Sequence[tuple[str, str]],
    observables: Sequence[str],
) -> tuple[Fields, Fields]:
    found = arrays()
    own_fields = {r.field: found[fields.index((r.field, r.stored_dtype))][own] for r in recordings}
    numbers = {}
    if observed := [name for name in names if name != STATE_HASH]:
        table = found[len(fields)][own].astype(np.float64)
        numbers = {name: table[:, observables.index(name)] for name in observed}
    if STATE_HASH in names:
        numbers[STATE_HASH] = found[-1][own]
    return own_fields, numbers
