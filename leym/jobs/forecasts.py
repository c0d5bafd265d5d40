"""Forecasts: what a time may turn out to be, as quantiles that come from earlier times.

A forecast is float64 [21], increasing: the quantiles 0, 5, …, 100 %. While there are few earlier times, values of a
prior are counted as if they had been measured too.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Forecast = NDArray[np.float64]

GRID = np.linspace(0, 1, 21)
MEDIAN, HIGH = 10, 18  # positions of the median and of the 90 % quantile
NEWEST = 30  # so many of the newest ratios count: machines and their load change

# Measured over predicted, of predictions about which nothing is known yet: quantiles 10, 30, …, 90 % of a log-normal
# distribution of median 1 and sigma 0.45. It is wide, because a line through three or four jobs is often far off.
PRIOR_RATIOS = (0.56, 0.79, 1.0, 1.26, 1.78)
PRIOR_PICK_UP_S = (0.03, 0.06, 0.1, 0.3, 1.0)  # from a submission to a start on a free slot


def forecast(values: Sequence[float] | NDArray[np.float64]) -> Forecast:
    """Return the quantiles of values that are equally likely."""
    return np.quantile(np.asarray(values, np.float64), GRID)


def with_prior(values: Sequence[float] | NDArray[np.float64], prior: Sequence[float]) -> Forecast:
    """Return the quantiles of the first NEWEST values, which are the newest ones, and of a prior."""
    return forecast([*values[:NEWEST], *prior])


def then(first: Forecast, second: Forecast) -> Forecast:
    """Return the forecast of a time that is followed by another one, which does not depend on it."""
    some = slice(1, None, 2)  # the quantiles 5, 15, …, 95 %, which stand for a tenth of the cases each
    return forecast(np.add.outer(first[some], second[some]).ravel())


def line_through(sizes: NDArray[np.float64], seconds: NDArray[np.float64]) -> tuple[float, float]:
    """Fit seconds = fixed + rate x size, both not negative, by least squares of (line / seconds - 1).

    Relative errors, so that short jobs count as much as long ones, and one that took far too long hardly counts.

    Returns:
        The fixed part and the rate; only a rate where all sizes are equal.
    """
    columns = np.stack([1 / seconds, sizes / seconds], axis=1)
    if np.ptp(sizes) > 0:
        fixed, rate = np.linalg.lstsq(columns, np.ones(len(sizes)))[0].tolist()
        if fixed >= 0 and rate > 0:
            return fixed, rate
    return 0.0, float(columns[:, 1].sum() / (columns[:, 1] ** 2).sum())


def ratios_so_far(sizes: NDArray[np.float64], seconds: NDArray[np.float64], fewest: int) -> NDArray[np.float64]:
    """Return measured over predicted, each predicted by a line through the older ones only.

    So the ratios have the errors that predictions had: also those of lines through few jobs, and of a machine whose
    load has changed.

    Args:
        sizes: [n], the newest first.
        seconds: [n], as measured.
        fewest: older ones that a prediction needs.

    Returns:
        At most NEWEST ratios, the newest first.
    """
    found = []
    for i in range(min(len(sizes) - fewest, NEWEST)):
        fixed, rate = line_through(sizes[i + 1 :], seconds[i + 1 :])
        found.append(seconds[i] / (fixed + rate * sizes[i]))
    return np.array(found, np.float64)


def found_free_slot(
    created: NDArray[np.float64], started: NDArray[np.float64], ended: NDArray[np.float64], slots: int
) -> NDArray[np.bool_]:
    """Return which rows had a free slot when they were submitted: nobody waited, and fewer than `slots` ran.

    Args:
        created: [n] times of the submissions.
        started: [n] times of the first starts; infinite for rows that wait.
        ended: [n] times of the ends; infinite for rows that have not ended.
        slots: slots of all workers.
    """
    before = created[None, :] < created[:, None]
    waited = before & (started[None, :] > created[:, None])
    ran = before & (started[None, :] <= created[:, None]) & (ended[None, :] > created[:, None])
    return np.asarray(~waited.any(axis=1) & (ran.sum(axis=1) < slots) & np.isfinite(started))
