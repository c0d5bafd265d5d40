"""CheckpointRefs: the checkpoints that the row of a claimed job names, one per group of members in lockstep.

The row of a single job refers to its newest checkpoint, which names the one before (`leym.frames.checkpoint`). The row
of a block refers to one per group:

    {"groups": [{"key": ..., "step": 400, "sha256": ..., "bytes": ..., "members": "0-3", "previous": {...}}, ...]}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leym.contract.ranges import pack_ranges, unpack_ranges
from leym.frames.checkpoint import references

Reference = Mapping[str, Any]


class CheckpointRefs:
    """References by group of members.

    Args:
        committed: the reference of the row; None without a checkpoint.
        is_block: True for the row of a block.
    """

    def __init__(self, committed: Reference | None, *, is_block: bool):
        self.is_block = is_block
        groups = (committed or {}).get("groups") if is_block else [committed] if committed else []
        self._groups = [(self._places(ref), dict(ref)) for ref in groups or []]

    def previous(self, places: NDArray[np.int64]) -> Reference | None:
        """Return the reference of the group that has all of these members; None if there is none."""
        return next((ref for held, ref in self._groups if np.isin(places, held).all()), None)

    def with_group(self, places: NDArray[np.int64], ref: dict[str, Any]) -> CheckpointRefs:
        """Return a copy in which these members have another checkpoint."""
        changed = self.without(places)
        changed._groups.append((places, ref | ({"members": pack_ranges(places)} if self.is_block else {})))
        return changed

    def without(self, places: NDArray[np.int64]) -> CheckpointRefs:
        """Return a copy without these members; a checkpoint that has others too stays."""
        changed = CheckpointRefs(None, is_block=self.is_block)
        changed._groups = [
            (np.setdiff1d(held, places), ref) for held, ref in self._groups if not np.isin(held, places).all()
        ]
        return changed

    def groups(self) -> list[tuple[NDArray[np.int64], dict[str, Any]]]:
        """Return the members of each checkpoint that have no newer one, with the reference."""
        return list(self._groups)

    def as_dict(self) -> dict[str, Any] | None:
        """Return the reference for the row; None leaves the row of a single job as it is."""
        if self.is_block:
            return {"groups": [ref for _, ref in self._groups]}
        return self._groups[0][1] if self._groups else None

    def keys(self) -> set[str]:
        """Return the keys of all checkpoints, the previous ones included."""
        return {str(one["key"]) for _, ref in self._groups for one in references(ref)}

    def size(self) -> int:
        """Add up the bytes of all checkpoints."""
        return sum(int(one["bytes"]) for _, ref in self._groups for one in references(ref))

    def _places(self, ref: Reference) -> NDArray[np.int64]:
        return unpack_ranges(str(ref["members"])) if self.is_block else np.zeros(1, np.int64)
