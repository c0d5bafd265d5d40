"""Running times are predicted from those of similar jobs."""

from __future__ import annotations

import numpy as np
import pytest

from leym.jobs.forecasts import HIGH, MEDIAN, NEWEST, forecast, found_free_slot, ratios_so_far, then
from leym.jobs.run_times import RunTime, Samples


def samples(sizes, seconds, basis="bucket"):
    times = [RunTime(1, int(n), 64 * int(n), float(s), float(s)) for n, s in zip(sizes, seconds, strict=True)]
    return Samples(basis, tuple(times))


@pytest.mark.parametrize("basis", ["bucket", "service"])
def test_a_fixed_part_and_a_rate_are_found(basis):
    sizes = np.array([50, 100, 800, 3200])
    found = samples(sizes, 0.3 + 0.001 * sizes, basis)
    for steps in (10, 400, 10_000):
        assert found.seconds(steps, 64 * steps)[MEDIAN] == pytest.approx(0.3 + 0.001 * steps)


def test_one_that_took_far_too_long_hardly_counts():
    draw = np.random.default_rng(3)
    sizes = draw.integers(50, 4000, 50)
    seconds = (0.2 + 0.002 * sizes) * draw.lognormal(0, 0.1, 50)
    seconds[0] = 500.0
    found = samples(sizes, seconds).seconds(1000, 0)
    assert found[MEDIAN] == pytest.approx(2.2, rel=0.05)
    assert 1.1 < found[HIGH] / found[MEDIAN] < 1.3  # 1.14 is the 90 % quantile of the noise; the prior is wider


@pytest.mark.parametrize("sigma", [0.1, 0.2, 0.4])
@pytest.mark.parametrize("known", [4, 12, 50])
def test_the_interval_holds_what_it_says_also_where_few_jobs_have_run(sigma, known):
    """Between p50 and p90: 40 % of the jobs. By p90: 90 %."""
    draw, within, kept, n = np.random.default_rng(known), 0, 0, 300
    for _ in range(n):
        sizes = draw.integers(50, 4000, known + 1)
        seconds = (0.2 + 0.002 * sizes) * draw.lognormal(0, sigma, known + 1)
        found = samples(sizes[1:], seconds[1:]).seconds(int(sizes[0]), 0)
        within += found[MEDIAN] <= seconds[0] <= found[HIGH]
        kept += seconds[0] <= found[HIGH]
    assert 0.3 <= within / n <= 0.52  # at most half of them take longer than the median
    assert kept / n >= 0.75


def test_ratios_are_those_of_predictions_from_older_jobs_only():
    sizes = np.array([100.0, 100.0, 100.0, 100.0, 100.0])
    assert ratios_so_far(sizes, np.array([40.0, 20.0, 10.0, 10.0, 10.0]), 3)[-1] == pytest.approx(2.0)
    assert len(ratios_so_far(sizes, np.ones(5), 3)) == 2
    assert len(ratios_so_far(np.ones(200), np.ones(200), 3)) == NEWEST


def test_a_start_on_a_free_slot_is_one_before_which_nobody_waited():
    created = np.array([0.0, 1.0, 2.0, 10.0, 11.0])
    started = np.array([0.1, 1.2, 9.0, 10.1, np.inf])
    ended = np.array([8.0, 9.0, 9.5, np.inf, np.inf])
    assert found_free_slot(created, started, ended, 2).tolist() == [True, True, False, True, False]
    assert found_free_slot(created, started, ended, 1).tolist() == [True, False, False, True, False]


def test_a_forecast_of_two_times_is_that_of_their_sum():
    draw = np.random.default_rng(1)
    first, second = draw.exponential(2.0, 20_000), draw.exponential(5.0, 20_000)
    found, measured = then(forecast(first), forecast(second)), np.quantile(first + second, [0.5, 0.9])
    assert [found[MEDIAN], found[HIGH]] == pytest.approx(measured, rel=0.1)


def test_longer_jobs_never_take_less_time():
    found = samples([100, 200, 400], [3.0, 2.0, 1.0])  # noise
    times = [found.seconds(steps, 0)[MEDIAN] for steps in (100, 200, 400)]
    assert times == sorted(times)
    assert times[0] > 0


def test_two_jobs_and_blocks_say_nothing_about_a_job_of_its_own():
    assert samples([100, 200], [1.0, 2.0]).seconds(100, 0) is None
    blocks = Samples("bucket", tuple(RunTime(8, 100, 6400, 10.0, 4.0) for _ in range(5)))
    assert blocks.seconds(100, 6400) is None
    assert blocks.device_seconds(640) == pytest.approx(np.full(21, 0.4))
