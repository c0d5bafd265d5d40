"""What an engine has done since it started, and which share of its device that took."""

from __future__ import annotations

from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from leym.engine.batch import Batch
from leym.engine.roofline import Ceilings, Cost


@dataclass
class EngineCounters:
    """lane_steps counts empty slots too, so occupancy = slot_steps / lane_steps. flops, bytes: of the universes' steps
    (`leym.engine.roofline`); ceiling_s: seconds that these FLOP would take at the ceiling of their operand dtype;
    busy_s: seconds with universes in slots; stepping_s: those in which the device stepped them.
    """

    ceilings: Ceilings | None = None
    cell_steps: int = 0
    slot_steps: int = 0
    lane_steps: int = 0
    swapped_out: int = 0
    busy_s: float = 0.0
    stepping_s: float = 0.0
    flops: float = 0.0
    bytes: float = 0.0
    ceiling_s: float = 0.0
    started: float = field(default_factory=monotonic)
    idle_since: float | None = field(default_factory=monotonic)

    def count(self, batch: Batch, k: int, members: int, cost: Cost, seconds: float) -> None:
        """k steps of a batch with so many universes in it, which took the device so long."""
        self.stepping_s += seconds
        cell_steps = k * members * batch.grid[0] * batch.grid[1]
        self.cell_steps += cell_steps
        self.slot_steps += k * members
        self.lane_steps += k * batch.rung
        self.flops += cell_steps * cost.flops
        self.bytes += cell_steps * cost.bytes
        if self.ceilings:
            self.ceiling_s += cell_steps * cost.flops / self.ceilings.of(batch.law.operands)

    def idle(self) -> None:
        if self.idle_since is None:
            self.idle_since = monotonic()

    def info(self) -> dict[str, Any]:
        names = ("cell_steps", "slot_steps", "lane_steps", "swapped_out", "busy_s", "stepping_s")
        idle_s = 0.0 if self.idle_since is None else monotonic() - self.idle_since
        found = {name: getattr(self, name) for name in names} | {"idle_s": idle_s, "roofline": self.roofline()}
        return found | {"idle_share": max(0.0, 1 - self.stepping_s / self.busy_s) if self.busy_s else 0.0}

    def roofline(self) -> dict[str, float]:
        """While the engine was busy: FLOP/s and bytes/s, and their shares of the ceilings if these were measured."""
        if not self.busy_s:
            return {}
        found = {"gflops": self.flops / self.busy_s / 1e9, "gbytes_per_s": self.bytes / self.busy_s / 1e9}
        if self.ceilings:
            memory = self.bytes / self.busy_s / self.ceilings.bytes_per_s
            found |= {"compute_share": self.ceiling_s / self.busy_s, "memory_share": memory}
        return found
