"""Counts what an engine has done since it started, and which share of its device that took."""

from __future__ import annotations

from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from leym.engine.pipeline import InFlightBurst
from leym.engine.roofline import Ceilings


@dataclass
class EngineCounters:
    """Sums since the start.

    Attributes:
        ceilings: what the device can do, if it was measured.
        cell_steps: cells x steps of universes.
        slot_steps: steps of occupied slots.
        batch_steps: steps of all slots, empty ones too; occupancy = slot_steps / batch_steps.
        swapped_out: runs that made room for more urgent ones.
        parked: runs that gave up their slots because their sinks were behind.
        busy_s: seconds with universes in slots.
        stepping_s: seconds of these in which the device stepped them.
        recording_s: seconds of these in which the device computed what they recorded.
        bursts: number of bursts.
        flops, bytes: of the universes' steps (`leym.engine.roofline`).
        ceiling_s: seconds that these FLOP would take at the ceiling of their operand dtype.
        idle_since: monotonic seconds; None while there is work.
    """

    ceilings: Ceilings | None = None
    cell_steps: int = 0
    slot_steps: int = 0
    batch_steps: int = 0
    swapped_out: int = 0
    parked: int = 0
    busy_s: float = 0.0
    stepping_s: float = 0.0
    recording_s: float = 0.0
    bursts: int = 0
    flops: float = 0.0
    bytes: float = 0.0
    ceiling_s: float = 0.0
    idle_since: float | None = field(default_factory=monotonic)
    _round_ended: float = field(default_factory=monotonic)

    def round_ended(self, *, had_work: bool) -> None:
        """Count the time since the round before as busy, if there was work in it."""
        now = monotonic()
        if had_work:
            self.busy_s += now - self._round_ended
        self._round_ended = now

    def count(self, burst: InFlightBurst, seconds: float, recording_s: float) -> None:
        """Add a burst, whose steps and recording took the device so many seconds, and charge its runs with them.

        Call it before the results are delivered, so that the last commit of a run has all of its device seconds.
        """
        for result in burst.results:
            result.group.run.device_s += (seconds + recording_s) * len(result.places) / burst.busy
        batch, steps, members = burst.batch, burst.steps, burst.busy
        self.stepping_s += seconds
        self.recording_s += recording_s
        self.bursts += 1
        cell_steps = steps * members * batch.grid[0] * batch.grid[1]
        self.cell_steps += cell_steps
        self.slot_steps += steps * members
        self.batch_steps += steps * batch.size
        self.flops += cell_steps * burst.cost.flops
        self.bytes += cell_steps * burst.cost.bytes
        if self.ceilings:
            self.ceiling_s += cell_steps * burst.cost.flops / self.ceilings.of(batch.law.operands)

    def idle(self) -> None:
        """Note that there is no work from now on."""
        if self.idle_since is None:
            self.idle_since = monotonic()

    def info(self) -> dict[str, Any]:
        """Return the sums, the idle time and the shares, for heartbeats."""
        names = (
            "cell_steps",
            "slot_steps",
            "batch_steps",
            "swapped_out",
            "parked",
            "busy_s",
            "stepping_s",
            "recording_s",
            "bursts",
        )
        idle_s = 0.0 if self.idle_since is None else monotonic() - self.idle_since
        found = {name: getattr(self, name) for name in names} | {"idle_s": idle_s, "roofline": self.roofline()}
        return found | {"idle_share": max(0.0, 1 - self.stepping_s / self.busy_s) if self.busy_s else 0.0}

    def roofline(self) -> dict[str, float]:
        """Return FLOP/s and bytes/s while the engine was busy, and their shares of the ceilings if those are known."""
        if not self.busy_s:
            return {}
        found = {"gflops": self.flops / self.busy_s / 1e9, "gbytes_per_s": self.bytes / self.busy_s / 1e9}
        if self.ceilings:
            memory = self.bytes / self.busy_s / self.ceilings.bytes_per_s
            found |= {"compute_share": self.ceiling_s / self.busy_s, "memory_share": memory}
        return found
