"""Values of a block's row that follow from the states of its members."""

from __future__ import annotations

from copy import deepcopy
from typing import Any, Protocol

import numpy as np

from leym.contract.member_states import MemberState, MemberStates
from leym.contract.ranges import unpack_ranges

COUNTED = {
    "succeeded": MemberState.SUCCEEDED,
    "failed": MemberState.FAILED,
    "cancelled": MemberState.CANCELLED,
    "moved": MemberState.MOVED,
}


class HeldBlock(Protocol):
    """Columns of a row that this module reads."""

    @property
    def members(self) -> int:
        """Number of members."""

    @property
    def steps(self) -> int:
        """Steps of all members together."""


def merge_states(stored: MemberStates, given: MemberStates) -> MemberStates:
    """Return the states that a holder commits, where the row has not recorded an end that the holder has not heard of.

    A user may have cancelled members meanwhile: an end that is in the row stays. Committed steps never decrease.
    """
    merged = deepcopy(given)
    ended = stored.state != MemberState.LIVE
    unknown = ended & (stored.state != given.state)
    merged.state[unknown], merged.stopped[unknown], merged.problem[unknown] = stored.state[unknown], 0, 0
    merged.step = np.where(ended, stored.step, np.maximum(stored.step, given.step))
    return merged


def state_values(held: HeldBlock, states: MemberStates) -> dict[str, Any]:
    """Return the columns of a row whose members have these states."""
    done, of_one = np.maximum(states.step, 0), held.steps // held.members
    live = states.state == MemberState.LIVE
    return {
        "member_states": states.text(),
        "step": int(done[states.state != MemberState.MOVED].sum()),
        "remaining": int((of_one - done[live]).sum()),
        **{column: states.count(state) for column, state in COUNTED.items()},
    }


def cancelled_places(cancelling: str | None) -> frozenset[int]:
    """Return the places of the members that a user has cancelled."""
    return frozenset(unpack_ranges(cancelling or "").tolist())
