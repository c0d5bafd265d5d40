"""Statistics of the service: monotonic totals, latencies and the backlog."""

from __future__ import annotations

import secrets
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import accumulate
from math import inf
from typing import Any

from sqlalchemy import Connection, Row, Update, bindparam, func, select, update

from leym.contract.records import LIVE, SIMULATION, TRAINING, JobState
from leym.jobs.queries import Base
from leym.jobs.quotas import stored_bytes
from leym.jobs.schema import BOUNDS, KINDS, LIVE_MEMBERS, SHARDS, jobs, latencies, totals

_NAMES = tuple(column.name for column in totals.c if column.name != "shard")
_BACKLOG = (JobState.QUEUED, JobState.RUNNING)
_SIMULATIONS = jobs.c.pool == SIMULATION


def count(connection: Connection, **growth: int) -> None:
    """Add to the totals.

    Call it at the end of a transaction, with only `observe` after it: other writers wait for these rows.
    """
    increments = {name: n for name, n in growth.items() if n}
    if increments:
        connection.execute(
            _increment(tuple(increments)),
            {"of": secrets.randbelow(SHARDS)} | {f"+{name}": n for name, n in increments.items()},
        )


@cache
def _increment(names: tuple[str, ...]) -> Update:
    """Build the statement that increments some totals; cached, because building takes longer than executing."""
    values = {name: totals.c[name] + bindparam(f"+{name}", type_=totals.c[name].type) for name in names}
    return update(totals).where(totals.c.shard == bindparam("of")).values(values)


def observe(connection: Connection, ended: Iterable[tuple[float, float | None, float, int]]) -> None:
    """Add succeeded or failed jobs to the latencies.

    Args:
        connection: the transaction.
        ended: times (created, started, finished) and the number of jobs that have these times.
    """
    found: dict[tuple[str, int], list[tuple[float, int]]] = {}
    for created, started, finished, n in ended:
        for kind, end in (("wait", started), ("total", finished)):
            if end is not None and n:
                seconds = max(end - created, 0.0)
                found.setdefault((kind, bisect_left(BOUNDS, seconds)), []).append((seconds, n))
    for (kind, bucket), values in sorted(found.items()):  # always in this order: two transactions must not deadlock
        add_latency(connection, kind, bucket, sum(n for _, n in values), sum(seconds * n for seconds, n in values))


_ADD_LATENCY = (
    update(latencies)
    .where(latencies.c.kind == bindparam("of"), latencies.c.bucket == bindparam("at"))
    .values(
        {
            "n": latencies.c.n + bindparam("more", type_=latencies.c.n.type),
            "sum": latencies.c["sum"] + bindparam("longer", type_=latencies.c["sum"].type),
        }
    )
)


def add_latency(connection: Connection, kind: str, bucket: int, number: int, total: float) -> None:
    """Add a number of values with this total to a bucket of a histogram."""
    connection.execute(_ADD_LATENCY, {"of": kind, "at": bucket, "more": number, "longer": total})


def histogram_of(rows: Sequence[Row[Any]], bounds: Sequence[float]) -> dict[str, Any]:
    """Return a histogram of rows of `latencies`, in the order of their buckets; the last bound is infinite."""
    counts = list(accumulate(int(row.n) for row in rows))
    buckets = list(zip((*bounds, inf), counts, strict=True))
    return {"buckets": buckets, "count": counts[-1], "sum": sum(row.sum for row in rows)}


class Statistics(Base):
    """Totals, latencies, counts and the backlog."""

    def totals(self) -> dict[str, int]:
        """Return totals since the table was created.

        Jobs `submitted`, `succeeded`, `failed` and `cancelled`, and committed `cell_steps` and `frames`.
        """
        with self.db.read() as connection:
            row = connection.execute(select(*(func.sum(totals.c[name]) for name in _NAMES))).one()
        return {name: int(n) for name, n in zip(_NAMES, row, strict=True)}

    def latencies(self) -> dict[str, dict[str, Any]]:
        """Return histograms of the seconds that succeeded and failed jobs took.

        "wait" is from submission to start, "total" from submission to end. Each is
        {"buckets": [(bound, jobs at or under it), ...], "count": n, "sum": seconds}; the last bound is infinite.
        """
        with self.db.read() as connection:
            rows = connection.execute(select(latencies).order_by(latencies.c.kind, latencies.c.bucket)).all()
        return {kind: histogram_of([row for row in rows if row.kind == kind], BOUNDS) for kind in KINDS}

    def counts(self) -> dict[str, int]:
        """Count the jobs in each state, members of sweeps included and deleted jobs excluded."""
        shown = (jobs.c.deleted_at.is_(None), *self._own())
        rows = select(jobs.c.state, func.count()).where(*shown).group_by(jobs.c.state)
        # apart from the rows, whose number an index alone can tell
        ended = ("succeeded", "failed", "cancelled")
        blocks = (
            select(jobs.c.state, func.count(), func.sum(LIVE_MEMBERS), *(func.sum(jobs.c[name]) for name in ended))
            .where(jobs.c.indices.is_not(None), *shown)
            .group_by(jobs.c.state)
        )
        found: Counter[str] = Counter()
        with self.db.read() as connection:
            found.update({state: int(n) for state, n in connection.execute(rows)})
            for state, n, live, *others in connection.execute(blocks):
                found.update({state: int(live) - n})
                found.update({name: int(count) for name, count in zip(ended, others, strict=True)})
        return {state.value: found[state.value] for state in JobState}

    def stored_bytes(self) -> int:
        """Add up the bytes of the results of all jobs."""
        with self.db.read() as connection:
            return stored_bytes(connection, self.project)

    def usage(self) -> list[dict[str, Any]]:
        """Return what each project has stored and what it still runs, the largest one first.

        Each has `project`, `stored_bytes` and `live`: its jobs that have not ended, members of sweeps included.
        """
        stored = select(jobs.c.project, func.sum(jobs.c.stored_bytes)).where(jobs.c.stored_bytes > 0, *self._own())
        live = (jobs.c.state.in_(LIVE), jobs.c.deleted_at.is_(None), *self._own())
        alive = select(jobs.c.project, func.sum(LIVE_MEMBERS)).where(*live).group_by(jobs.c.project)
        with self.db.read() as connection:
            sizes = {name: int(size) for name, size in connection.execute(stored.group_by(jobs.c.project))}
            counts = {name: int(n) for name, n in connection.execute(alive)}
        names = sorted(sizes | counts, key=lambda name: (-sizes.get(name, 0), name))
        return [{"project": n, "stored_bytes": sizes.get(n, 0), "live": counts.get(n, 0)} for n in names]

    def standings(self) -> dict[str, int]:
        """Count queued and running simulations by the fidelity of their precision."""
        statement = (
            select(jobs.c.fidelity, func.sum(LIVE_MEMBERS))
            .where(jobs.c.state.in_(_BACKLOG), _SIMULATIONS, jobs.c.deleted_at.is_(None), *self._own())
            .group_by(jobs.c.fidelity)
            .order_by(jobs.c.fidelity)
        )
        with self.db.read() as connection:
            return {standing: int(n) for standing, n in connection.execute(statement)}

    def trainings(self) -> dict[str, int]:
        """Count the trainings that are queued and running."""
        live = (jobs.c.state.in_(_BACKLOG), jobs.c.pool == TRAINING, jobs.c.deleted_at.is_(None), *self._own())
        with self.db.read() as connection:
            rows = connection.execute(select(jobs.c.state, func.count()).where(*live).group_by(jobs.c.state))
            found = {state: int(n) for state, n in rows}
        return {state.value: found.get(state.value, 0) for state in _BACKLOG}

    def backlog(self, now: float | None = None) -> dict[str, Any]:
        """Count queued and running simulations and their remaining cell-steps.

        `oldest_queued_s` is None if none is queued. Trainings are not counted: see `trainings`.
        """
        now = time.time() if now is None else now
        # Multiplied in Python: the sum over many large jobs could exceed SQLite's integers.
        statement = (
            select(jobs.c.state, jobs.c.height, jobs.c.width)
            .add_columns(func.sum(LIVE_MEMBERS).label("n"), func.sum(jobs.c.remaining).label("steps"))
            .add_columns(func.min(jobs.c.created_at).label("oldest"))
            .where(jobs.c.state.in_(_BACKLOG), _SIMULATIONS, jobs.c.deleted_at.is_(None), *self._own())
            .group_by(jobs.c.state, jobs.c.height, jobs.c.width)
        )
        with self.db.read() as connection:
            rows = connection.execute(statement).all()
        queued = [row for row in rows if row.state == JobState.QUEUED]
        return {
            "jobs": sum(int(row.n) for row in rows),
            "cell_steps": sum(row.height * row.width * int(row.steps) for row in rows),
            "queued_cell_steps": sum(row.height * row.width * int(row.steps) for row in queued),
            "oldest_queued_s": max(now - min(row.oldest for row in queued), 0.0) if queued else None,
        }

    def buckets(self) -> list[dict[str, Any]]:
        """Return the backlog of simulations per bucket: [{law, precision, grid: [H, W], jobs, cell_steps}]."""
        key = (jobs.c.law, jobs.c.precision, jobs.c.height, jobs.c.width)
        statement = (
            select(*key, func.sum(LIVE_MEMBERS).label("n"), func.sum(jobs.c.remaining).label("steps"))
            .where(jobs.c.state.in_(_BACKLOG), _SIMULATIONS, jobs.c.deleted_at.is_(None), *self._own())
            .group_by(*key)
            .order_by(*key)
        )
        with self.db.read() as connection:
            rows = connection.execute(statement).all()
        return [
            {
                "law": row.law,
                "precision": row.precision,
                "grid": [row.height, row.width],
                "jobs": int(row.n),
                "cell_steps": row.height * row.width * int(row.steps),
            }
            for row in rows
        ]
