"""States of the members of a block, as the job table stores them: one small text however many members there are."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

_COLUMNS = (("state", "<u1"), ("step", "<i8"), ("stopped", "<u1"), ("problem", "<u2"))


class MemberState(IntEnum):
    """State of one member. A live member is queued, running or paused, as its block is."""

    LIVE = 0
    SUCCEEDED = 1
    FAILED = 2
    CANCELLED = 3
    MOVED = 4  # another block of the sweep has the member now: it was split off, or is run again


@dataclass
class MemberStates:
    """The states of the N members of a block. Commits store them together with the manifest of the frames.

    Attributes:
        state: uint8 [N], values of `MemberState`.
        step: int64 [N], committed step of each member: readers see its frames up to there; -1 before the first commit.
        stopped: uint8 [N], 0, or 1 + the index of the rule of the sweep's `stop` that ended the member early.
        problem: uint16 [N], 0, or 1 + the index in `problems` of why the member failed.
        problems: the distinct problems (RFC 9457) of failed members.
    """

    state: NDArray[np.uint8]
    step: NDArray[np.int64]
    stopped: NDArray[np.uint8]
    problem: NDArray[np.uint16]
    problems: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def new(cls, members: int) -> MemberStates:
        """Return the states of members that have not started."""
        return cls(
            np.zeros(members, np.uint8),
            np.full(members, -1, np.int64),
            np.zeros(members, np.uint8),
            np.zeros(members, np.uint16),
        )

    @classmethod
    def parse(cls, text: str | None, members: int) -> MemberStates:
        """Parse the text of a row; None stands for members that have not started."""
        if text is None:
            return cls.new(members)
        found = json.loads(text)
        columns = {}
        for name, dtype in _COLUMNS:
            values = np.frombuffer(zlib.decompress(base64.b64decode(found[name])), dtype)
            columns[name] = values.astype(values.dtype.newbyteorder("="))
        return cls(**columns, problems=found["problems"])

    def text(self) -> str:
        """Return the text for a row: each column compressed by zlib, in base64."""
        columns: dict[str, Any] = {
            name: base64.b64encode(zlib.compress(getattr(self, name).astype(dtype).tobytes(), 6)).decode()
            for name, dtype in _COLUMNS
        }
        return json.dumps(columns | {"problems": self.problems}, separators=(",", ":"))

    def __len__(self) -> int:
        return len(self.state)

    def end(
        self,
        places: Sequence[int] | NDArray[np.int64],
        state: MemberState,
        *,
        stopped: int = 0,
        problem: dict[str, Any] | None = None,
    ) -> None:
        """Set the final state of the live members among `places`; a member that has ended keeps its state."""
        chosen = np.asarray(places, np.int64)
        chosen = chosen[self.state[chosen] == MemberState.LIVE]
        self.state[chosen], self.stopped[chosen] = state, stopped
        if problem is not None and len(chosen):
            if problem not in self.problems:
                self.problems.append(problem)
            self.problem[chosen] = self.problems.index(problem) + 1

    def problem_of(self, place: int) -> dict[str, Any] | None:
        """Return why a member failed; None if it did not."""
        number = int(self.problem[place])
        return self.problems[number - 1] if number else None

    def count(self, state: MemberState) -> int:
        """Count the members in a state."""
        return int(np.count_nonzero(self.state == state))

    @property
    def live(self) -> NDArray[np.int64]:
        """Places of the members that have not ended: int64 [n]."""
        return np.flatnonzero(self.state == MemberState.LIVE)

    @property
    def steps_done(self) -> int:
        """Committed steps of all members together."""
        return int(np.maximum(self.step, 0).sum())
