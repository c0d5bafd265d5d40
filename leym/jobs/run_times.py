"""Running times of jobs that have succeeded: what quotes are made of."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import ColumnElement, Connection, func, select

from leym.contract.records import SIMULATION, JobState
from leym.jobs.forecasts import (
    PRIOR_PICK_UP_S,
    PRIOR_RATIOS,
    Forecast,
    forecast,
    found_free_slot,
    line_through,
    ratios_so_far,
    with_prior,
)
from leym.jobs.queries import Base
from leym.jobs.schema import LIVE_MEMBERS, QUOTE, RATIOS, jobs, latencies
from leym.jobs.statistics import add_latency, histogram_of

LOOKED_AT = 1000  # newest rows of a law, or of the service, among which similar ones are looked for
SAMPLES = 50  # of these, so many count
FEWEST = 3  # fewer are too few to say anything
PICKED_UP = 200  # newest rows among which those are looked for that found a free slot


@dataclass(frozen=True, slots=True)
class RunTime:
    """A row that has succeeded in one attempt.

    Attributes:
        members: number of members; 1 for a job of its own.
        steps: of each member, without those of jobs that it continues.
        cell_steps: of all members.
        seconds: from its start to its end.
        device_s: seconds of a device; 0 if it ended before they were counted.
    """

    members: int
    steps: int
    cell_steps: int
    seconds: float
    device_s: float


@dataclass(frozen=True, slots=True)
class Samples:
    """Running times of similar jobs. `basis` says how similar they are: `bucket`, `law` or `service`."""

    basis: str
    times: tuple[RunTime, ...]

    @property
    def single(self) -> list[RunTime]:
        """Those of jobs of their own: a block takes as long as all of its members."""
        return [time for time in self.times if time.members == 1]

    def seconds(self, steps: int, cell_steps: int) -> Forecast | None:
        """Return the forecast of the seconds that a job would run; None without samples.

        A line through the samples, fixed part + size x rate, is scaled by the quantiles of measured / predicted of the
        last ones, each predicted from those before it.

        Args:
            steps: length of the job, which is its size where the samples are of its bucket.
            cell_steps: work of the job, which is its size otherwise.
        """
        times = self.single
        if len(times) < FEWEST:
            return None
        own = self.basis == "bucket"
        sizes = np.array([time.steps if own else time.cell_steps for time in times], np.float64)
        seconds = np.array([time.seconds for time in times])
        fixed, rate = line_through(sizes, seconds)
        ratios = with_prior(ratios_so_far(sizes, seconds, FEWEST), PRIOR_RATIOS)
        return (fixed + rate * (steps if own else cell_steps)) * ratios

    def device_seconds(self, cell_steps: int) -> Forecast | None:
        """Return the forecast of the device seconds of so much work; None without samples."""
        found = [time.device_s / time.cell_steps * cell_steps for time in self.times if time.device_s > 0]
        return forecast(found) if len(found) >= FEWEST else None


class RunTimes(Base):
    """Queries for running times, and how well they were predicted."""

    def run_times(self, law: str, precision: str, grid: tuple[int, int]) -> Samples:
        """Return running times of the most similar jobs, of all projects.

        Args:
            law: name@digest.
            precision: resolved precision.
            grid: (H, W).

        Returns:
            Those of the same bucket; if there are too few, those of the law in other precisions and on other grids; if
            there are too few, those of all laws.
        """
        of_law = (jobs.c.law_name == law.partition("@")[0], jobs.c.law == law)
        bucket = (jobs.c.precision == precision, jobs.c.height == grid[0], jobs.c.width == grid[1])
        with self.db.read() as connection:
            for basis, among, chosen in (("bucket", of_law, bucket), ("law", of_law, ()), ("service", (), ())):
                found = Samples(basis, tuple(_run_times(connection, among, chosen)))
                if len(found.single) >= FEWEST or (basis == "bucket" and len(found.times) >= FEWEST):
                    break
        return found

    def work_ahead(self, priority: int) -> tuple[int, int]:
        """Return how many queued simulations are as urgent as a new job of a priority or more, and their cell-steps."""
        ahead = (jobs.c.state == JobState.QUEUED, jobs.c.pool == SIMULATION, jobs.c.priority >= priority)
        return self._work(*ahead)

    def work_running(self) -> tuple[int, int]:
        """Return how many simulations run, and the cell-steps that they still need."""
        return self._work(jobs.c.state == JobState.RUNNING, jobs.c.pool == SIMULATION)

    def pick_up_times(self, slots: int) -> Forecast:
        """Return the forecast of the seconds from a submission to a start on a free slot.

        Args:
            slots: slots of all workers, among which the newest jobs found a free one, or did not.
        """
        newest = select(jobs.c.created_at, jobs.c.started_at, jobs.c.finished_at, jobs.c.sweep)
        newest = newest.where(jobs.c.pool == SIMULATION).order_by(jobs.c.id.desc()).limit(PICKED_UP)
        with self.db.read() as connection:
            rows = connection.execute(newest).all()
        if not rows:
            return with_prior((), PRIOR_PICK_UP_S)
        times = np.array([row[:3] for row in rows], np.float64)  # null becomes NaN
        times[np.isnan(times)] = np.inf
        single = np.array([row.sweep is None for row in rows])  # blocks wait for their sweep too
        free = found_free_slot(times[:, 0], times[:, 1], times[:, 2], slots) & single
        return with_prior((times[free, 1] - times[free, 0]).clip(min=0), PRIOR_PICK_UP_S)

    def quote_errors(self) -> dict[str, Any]:
        """Return the histogram of predicted / measured running times, as `latencies` returns its own."""
        with self.db.read() as connection:
            rows = connection.execute(select(latencies).where(latencies.c.kind == QUOTE).order_by(latencies.c.bucket))
            return histogram_of(list(rows), RATIOS)

    def _work(self, *conditions: ColumnElement[bool]) -> tuple[int, int]:
        # multiplied in Python: the sum over many large jobs could exceed SQLite's integers
        work = select(jobs.c.height, jobs.c.width, func.sum(LIVE_MEMBERS), func.sum(jobs.c.remaining))
        statement = work.where(*conditions, jobs.c.deleted_at.is_(None)).group_by(jobs.c.height, jobs.c.width)
        with self.db.read() as connection:
            rows = connection.execute(statement).all()
        return sum(int(n) for _, _, n, _ in rows), sum(h * w * int(steps) for h, w, _, steps in rows)


def observe_quote(connection: Connection, predicted_s: float, measured_s: float) -> None:
    """Count predicted / measured of a job that has succeeded."""
    ratio = predicted_s / max(measured_s, 1e-3)
    add_latency(connection, QUOTE, bisect_left(RATIOS, ratio), 1, ratio)


def _run_times(
    connection: Connection, among: Sequence[ColumnElement[bool]], chosen: Sequence[ColumnElement[bool]]
) -> list[RunTime]:
    """Return the newest running times of simulations in one attempt; bounded, however many jobs there are."""
    newest = select(jobs.c.id).where(*among, jobs.c.state == JobState.SUCCEEDED, jobs.c.deleted_at.is_(None))
    newest = newest.order_by(jobs.c.id.desc()).limit(LOOKED_AT)
    kept = jobs.c.members - jobs.c.moved
    columns = (jobs.c.steps, jobs.c.members, kept.label("kept"), jobs.c.height, jobs.c.width)
    statement = (
        select(*columns, jobs.c.started_at, jobs.c.finished_at, jobs.c.device_s, jobs.c.begins_at)
        .where(jobs.c.id.in_(newest.scalar_subquery()), *chosen)
        .where(jobs.c.pool == SIMULATION, jobs.c.epoch == 1, kept > 0, jobs.c.finished_at > jobs.c.started_at)
        .where(jobs.c.steps > jobs.c.begins_at)
        .where(~jobs.c.spec.contains('"kind":"fidelity"', autoescape=True))  # specs are written without spaces
        .order_by(jobs.c.id.desc())
        .limit(SAMPLES)
    )
    found = []
    for row in connection.execute(statement):
        steps = row.steps // row.members - row.begins_at
        cell_steps = steps * row.kept * row.height * row.width
        found.append(RunTime(row.kept, steps, cell_steps, row.finished_at - row.started_at, row.device_s))
    return found
