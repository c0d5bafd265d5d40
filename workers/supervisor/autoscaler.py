"""How many workers there should be. A pure decision from what is seen, so that every rule can be tested.

Up: something waits and nobody is there, or the backlog would take longer than DRAIN_S at the measured speed.
Down: only workers that have had nothing for the idle time. A worker that starts counts as there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MOST_WORKERS = 1024  # of one machine
DRAIN_S = 60.0  # twice what a worker needs to load and compile: a shorter backlog is gone before a new one helps
TICKS = 2  # the backlog must be too long at this many looks in a row


@dataclass(frozen=True)
class Limits:
    """Workers at least and at most, and after how many idle seconds one may go."""

    least: int
    most: int
    idle_s: float


@dataclass(frozen=True)
class Seen:
    """One worker process, as its heartbeat tells it."""

    name: str
    busy: int  # jobs in slots
    waiting: int  # jobs it holds beside them
    slots: int
    cell_steps_per_s: float  # 0 when it has not run anything yet
    idle_s: float  # 0 while it has anything


@dataclass(frozen=True)
class Look:
    """What the supervisor sees. cell_steps: left of queued and running jobs. pressed: looks in a row that found the
    backlog too long. paused: workers crash at their start, so none is started for now."""

    queued: int
    cell_steps: int
    ready: tuple[Seen, ...]
    starting: int
    pressed: int
    paused: bool = False


@dataclass(frozen=True)
class Decision:
    start: int = 0
    drain: tuple[str, ...] = ()
    pressed: int = 0
    why: str = ""


def decide(look: Look, limits: Limits) -> Decision:
    """What to do at this look. `pressed` goes into the next one."""
    live = len(look.ready) + look.starting
    if look.paused:
        return Decision(why="paused after crashes")
    if live < limits.least:
        return Decision(start=limits.least - live, why=f"{live} workers, at least {limits.least}")
    if look.queued and live == 0 and limits.most:
        return Decision(start=1, why=f"{look.queued} jobs wait and no worker is there")
    if look.queued and live < limits.most and not look.starting:
        wait_s = _backlog_s(look)
        if wait_s > DRAIN_S and not _free_slots(look):
            pressed = look.pressed + 1
            if pressed >= TICKS:
                return Decision(start=1, why=f"the backlog takes {wait_s:.0f} s, over {DRAIN_S:.0f} s")
            return Decision(pressed=pressed)
    idle = sorted((w for w in look.ready if _is_idle(w, limits)), key=lambda w: -w.idle_s)
    spare = live - limits.least
    if idle and spare > 0 and not look.queued:
        going = tuple(w.name for w in idle[:spare])
        return Decision(drain=going, why=f"idle for {idle[0].idle_s:.0f} s, over {limits.idle_s:.0f} s")
    return Decision()


def _backlog_s(look: Look) -> float:
    """Seconds that the present workers need for the backlog; infinite when none has been measured yet."""
    speeds = [w.cell_steps_per_s for w in look.ready if w.cell_steps_per_s > 0]
    if not speeds:
        return float("inf")
    mean = sum(speeds) / len(speeds)
    return look.cell_steps / (mean * len(look.ready))


def _free_slots(look: Look) -> int:
    return sum(max(0, w.slots - w.busy - w.waiting) for w in look.ready)


def _is_idle(worker: Seen, limits: Limits) -> bool:
    return not worker.busy and not worker.waiting and worker.idle_s >= limits.idle_s


def autoscale_range(text: str) -> tuple[int, int]:
    """Parse `min:max` into (least, most). Raises ValueError."""
    found = re.fullmatch("([0-9]{1,4}):([0-9]{1,4})", text)
    least, most = (int(found[1]), int(found[2])) if found else (0, 0)
    if not least <= most or not 1 <= most <= MOST_WORKERS:
        raise ValueError(f"{text!r}: expected min:max with 0 <= min <= max and 1 <= max <= {MOST_WORKERS}")
    return least, most
