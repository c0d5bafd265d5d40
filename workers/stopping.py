"""StopRules: end members of a sweep early, by what they do.

A member is stopped at the recording at which a rule has held for its number of recordings in a row. That depends on the
member alone, and the counts are part of its checkpoints, so the same member always stops at the same step.

    frozen      mean activity  < FROZEN              nothing changes any more
    collapsed   mean coherence > 1 - COLLAPSED       all cells are in one state
    cycle       the bits of ψ are those of one of the last SEEN recordings
    non_finite  nothing to do: the engine fails such a member at the step in question
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leym.contract.catalog import current_observable
from leym.contract.stop_rules import StopRule
from leym.engine.run import STATE_HASH
from leym.engine.states import Arrays, Places

FROZEN = 1e-6  # a few times the rounding of a float32
COLLAPSED = 1e-5
SEEN = 256
_WATCHED = {"frozen": "activity", "collapsed": "coherence", "cycle": STATE_HASH}


class StopRules:
    """The rules of a sweep, applied to the members of one block.

    Args:
        rules: the rules in order; the first that applies names the reason.
        members: number of members of the block.

    Attributes:
        watched: names of the observables that the rules need at every recording.
    """

    def __init__(self, rules: Sequence[StopRule], members: int):
        self._rules = list(rules)
        self._held = np.zeros((members, len(rules)), np.int64)
        named = (rule.threshold.observable if rule.threshold else _WATCHED.get(str(rule.when)) for rule in rules)
        self.watched = tuple(sorted({current_observable(name) for name in named if name}))
        hashes = SEEN if STATE_HASH in self.watched else 0
        self._seen, self._count = np.zeros((members, hashes), np.int64), np.zeros(members, np.int64)

    def apply(self, step: int, places: Places, observables: Mapping[str, NDArray[Any]]) -> list[tuple[int, Places]]:
        """Take the observables of members at a step, and return those that stop.

        Returns:
            For each rule that applies, its index and the places of its members.
        """
        stopped, left = [], np.ones(len(places), bool)
        for i, rule in enumerate(self._rules):
            holds = self._holds(rule, places, observables) & (step > 0)
            self._held[places, i] = np.where(holds, self._held[places, i] + 1, 0)
            now = left & (self._held[places, i] >= rule.recordings)
            if now.any():
                stopped.append((i, places[now]))
                left &= ~now
        if STATE_HASH in self.watched:
            self._seen[places, self._count[places] % SEEN] = observables[STATE_HASH]
            self._count[places] += 1
        return stopped

    def state(self, places: Places) -> Arrays:
        """Return what a checkpoint of these members needs, by name."""
        return {"stop_held": self._held[places], "stop_seen": self._seen[places], "stop_count": self._count[places]}

    def restore(self, places: Places, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Continue from the `state` of a checkpoint."""
        self._held[places] = arrays["stop_held"]
        self._seen[places], self._count[places] = arrays["stop_seen"], arrays["stop_count"]

    def _holds(self, rule: StopRule, places: Places, observables: Mapping[str, NDArray[Any]]) -> NDArray[np.bool_]:
        if bound := rule.threshold:
            values = observables[current_observable(bound.observable)]
            return np.asarray(values < bound.below if bound.below is not None else values > bound.above)
        if rule.when == "frozen":
            return np.asarray(observables["activity"] < FROZEN)
        if rule.when == "collapsed":
            return np.asarray(observables["coherence"] > 1 - COLLAPSED)
        if rule.when == "cycle":
            valid = np.arange(SEEN) < self._count[places][:, None]
            same = self._seen[places] == np.asarray(observables[STATE_HASH])[:, None]
            return np.asarray((same & valid).any(axis=1))
        return np.zeros(len(places), bool)
