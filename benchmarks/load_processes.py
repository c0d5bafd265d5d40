"""The processes of a service as Linux shows them: what each is, its CPU seconds and its resident memory."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import numpy as np

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PAGE_KIB = os.sysconf("SC_PAGE_SIZE") // 1024
# what a command line says, and what that process is
ROLES = dict.fromkeys(("leym.cli up", "bin/leym up", "workers.supervisor.up"), "supervisor")
ROLES |= {"gunicorn": "api", "flower": "flower"}
ROLES |= {"workers.celery_app": "worker", "valkey": "valkey", "compile_worker": "compiler"}


@dataclass(frozen=True)
class Process:
    pid: int
    name: str
    cpu_s: float
    rss_kib: int


def processes_below(root: int) -> list[Process]:
    """All descendants of a process, each with a name of its own: `api`, `api.1`, `api.2` in the order of their pids."""
    stats = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # it has ended since
            continue
        stats[int(folder.name)] = fields, command
    children: dict[int, list[int]] = {}
    for pid, (fields, _) in stats.items():
        children.setdefault(int(fields[1]), []).append(pid)
    found, todo, seen = [], list(children.get(root, ())), Counter[str]()
    while todo:
        pid = todo.pop()
        todo += children.get(pid, ())
        found.append(pid)
    below = []
    for pid in sorted(found):
        fields, command = stats[pid]
        role = next((name for sign, name in ROLES.items() if sign in command), "other")
        name = f"{role}.{seen[role]}" if seen[role] else role
        seen[role] += 1
        cpu_s = (int(fields[11]) + int(fields[12])) / TICKS_PER_S
        below.append(Process(pid, name, cpu_s, int(fields[21]) * PAGE_KIB))
    return below


class CpuSpell:
    """CPU shares of all processes below this one, and of itself, from its making to `shares()`."""

    def __init__(self) -> None:
        self._began, self._own = monotonic(), sum(os.times()[:2])
        self._before = {p.pid: p.cpu_s for p in processes_below(os.getpid())}

    def shares(self) -> dict[str, float]:
        """In cores: 1.0 is one core all the time. `client` is this process."""
        took = monotonic() - self._began
        found = {"client": (sum(os.times()[:2]) - self._own) / took}
        for process in processes_below(os.getpid()):
            share = (process.cpu_s - self._before.get(process.pid, 0.0)) / took
            if share >= 0.005:
                found[process.name] = share
        return {name: round(share, 3) for name, share in found.items()}


def slope_per_min(minutes: Sequence[float], values: Sequence[float]) -> float:
    """By least squares over the last two thirds: the first third is warm-up."""
    kept = [(at, value) for at, value in zip(minutes, values, strict=True) if at >= max(minutes) / 3]
    if len(kept) < 3:
        return float("nan")
    return float(np.polyfit(*zip(*kept, strict=True), 1)[0])
