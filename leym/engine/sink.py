"""Defines a Sink, which receives the results of a run."""

from __future__ import annotations

from typing import Protocol

from leym.contract.problems import Problem
from leym.engine.states import Arrays, GroupState, Places


class Sink(Protocol):
    """Receives the results of one run, in order, from the dispatcher's threads; it may block, the engine goes on.

    Every call is about one group of n members, `places` int64 [n]. The sink handles its own errors; to stop the run it
    calls `Engine.cancel`. Nothing follows when every member has finished, was stopped or has failed.
    """

    def admitted(self) -> None:
        """Note that members have slots; called again when the run is computed in another way (`Run.computed_by`)."""

    def frames(self, step: int, places: Places, fields: Arrays, observables: Arrays) -> None:
        """Take everything recorded at one step.

        Args:
            step: the step of the members.
            places: the members.
            fields: [n, H, W] or [n, H, W, d] in their stored dtype, by name.
            observables: float64 [n], by name.
        """

    def progress(self, step: int, places: Places) -> None:
        """Note that members have reached a step; called a few times a second at most."""

    def checkpoint(self, state: GroupState) -> None:
        """Take the state of members; all their frames up to its step have been delivered."""

    def finished(self, state: GroupState) -> None:
        """Take the last state of members that have made all their steps."""

    def failed(self, step: int, places: Places, problem: Problem) -> None:
        """Note that members cannot continue after `step`, whose frames have been delivered."""

    def released(self) -> None:
        """Note that the engine drains: checkpoints of all members with slots have been delivered; nothing follows."""
