"""Decides how many workers there should be: a pure function of an observation, so that every rule can be tested.

Start one: jobs wait and there is no worker, or the backlog would take longer than DRAIN_S at the measured speed.
Drain some: workers that have had no job for the idle time. A worker that is starting counts as a worker.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_WORKERS = 1024  # of one machine
DRAIN_S = 60.0  # twice what a worker needs to load and compile: a shorter backlog is done before a new one helps
OVERLOADED_TICKS = 2  # consecutive ticks in which the backlog must be too long


@dataclass(frozen=True)
class Limits:
    """Bounds of the number of workers.

    Attributes:
        minimum: Workers that are kept, jobs or not.
        maximum: Workers that are never exceeded; 0 if workers run on other machines.
        idle_s: Seconds without a job after which a worker is drained.
    """

    minimum: int
    maximum: int
    idle_s: float


@dataclass(frozen=True)
class WorkerLoad:
    """The load of one worker, from its heartbeat.

    Attributes:
        name: The worker.
        busy: Its jobs in slots.
        waiting: Its jobs that wait for a slot.
        slots: Its slots.
        cell_steps_per_s: Its speed; 0 if it has not run anything yet.
        idle_s: Seconds since it had a job; 0 while it has one.
    """

    name: str
    busy: int
    waiting: int
    slots: int
    cell_steps_per_s: float
    idle_s: float


@dataclass(frozen=True)
class Observation:
    """The state of queue and workers at one tick.

    Attributes:
        queued: Jobs that wait.
        cell_steps: Work left of queued and running jobs.
        ready: Workers that serve.
        starting: Workers that do not serve yet.
        overloaded_ticks: Consecutive ticks before this one in which the backlog was too long.
        paused: Whether no worker is started for now, because workers have crashed at their start.
    """

    queued: int
    cell_steps: int
    ready: tuple[WorkerLoad, ...]
    starting: int
    overloaded_ticks: int
    paused: bool = False


@dataclass(frozen=True)
class Decision:
    """What to do at one tick.

    Attributes:
        start: Number of workers to start.
        drain: Names of workers to drain.
        overloaded_ticks: For the observation of the next tick.
        reason: Why, for the log.
    """

    start: int = 0
    drain: tuple[str, ...] = ()
    overloaded_ticks: int = 0
    reason: str = ""


def decide(seen: Observation, limits: Limits) -> Decision:
    """Choose how many workers to start, or which to drain."""
    live = len(seen.ready) + seen.starting
    if seen.paused:
        return Decision(reason="paused after crashes")
    if live < limits.minimum:
        return Decision(start=limits.minimum - live, reason=f"{live} workers, at least {limits.minimum}")
    if seen.queued and live == 0 and limits.maximum:
        return Decision(start=1, reason=f"{seen.queued} jobs wait and there is no worker")
    if seen.queued and live < limits.maximum and not seen.starting:
        backlog_s = _backlog_s(seen)
        if backlog_s > DRAIN_S and not _free_slots(seen):
            ticks = seen.overloaded_ticks + 1
            if ticks >= OVERLOADED_TICKS:
                return Decision(start=1, reason=f"the backlog takes {backlog_s:.0f} s, over {DRAIN_S:.0f} s")
            return Decision(overloaded_ticks=ticks)
    idle = sorted((w for w in seen.ready if _is_idle(w, limits)), key=lambda w: -w.idle_s)
    spare = live - limits.minimum
    if idle and spare > 0 and not seen.queued:
        names = tuple(w.name for w in idle[:spare])
        return Decision(drain=names, reason=f"idle for {idle[0].idle_s:.0f} s, over {limits.idle_s:.0f} s")
    return Decision()


def _backlog_s(seen: Observation) -> float:
    """Return the seconds that the ready workers need for the backlog; infinite if no speed is known yet."""
    speeds = [w.cell_steps_per_s for w in seen.ready if w.cell_steps_per_s > 0]
    if not speeds:
        return float("inf")
    mean = sum(speeds) / len(speeds)
    return seen.cell_steps / (mean * len(seen.ready))


def _free_slots(seen: Observation) -> int:
    return sum(max(0, w.slots - w.busy - w.waiting) for w in seen.ready)


def _is_idle(worker: WorkerLoad, limits: Limits) -> bool:
    return not worker.busy and not worker.waiting and worker.idle_s >= limits.idle_s


def autoscale_range(text: str) -> tuple[int, int]:
    """Parse `MIN:MAX` into (minimum, maximum).

    Raises:
        ValueError: It has another form, or MAX is out of range.
    """
    found = re.fullmatch("([0-9]{1,4}):([0-9]{1,4})", text)
    minimum, maximum = (int(found[1]), int(found[2])) if found else (0, 0)
    if not minimum <= maximum or not 1 <= maximum <= MAX_WORKERS:
        raise ValueError(f"{text!r}: expected min:max with 0 <= min <= max and 1 <= max <= {MAX_WORKERS}")
    return minimum, maximum
