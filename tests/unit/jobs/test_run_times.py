"""Running times are predicted from those of similar jobs."""

from __future__ import annotations

import numpy as np
import pytest

from leym.jobs.run_times import RunTime, Samples


def samples(sizes, seconds, basis="bucket"):
    times = [RunTime(1, int(n), 64 * int(n), float(s), float(s)) for n, s in zip(sizes, seconds, strict=True)]
    return Samples(basis, tuple(times))


@pytest.mark.parametrize("basis", ["bucket", "service"])
def test_a_fixed_part_and_a_rate_are_found(basis):
    sizes = np.array([50, 100, 800, 3200])
    found = samples(sizes, 0.3 + 0.001 * sizes, basis)
    for steps in (10, 400, 10_000):
        assert found.seconds(steps, 64 * steps) == pytest.approx((0.3 + 0.001 * steps,) * 2)


def test_one_that_took_far_too_long_hardly_counts_and_the_interval_holds_what_it_says():
    draw = np.random.default_rng(3)
    sizes = draw.integers(50, 4000, 50)
    seconds = (0.2 + 0.002 * sizes) * draw.lognormal(0, 0.1, 50)
    seconds[0] = 500.0
    median, high = samples(sizes, seconds).seconds(1000, 0)
    assert median == pytest.approx(2.2, rel=0.05)
    assert high / median == pytest.approx(np.exp(0.128), rel=0.05)  # the 90 % quantile of the normal is 1.28 sigma


def test_longer_jobs_never_take_less_time():
    found = samples([100, 200, 400], [3.0, 2.0, 1.0])  # noise
    times = [found.seconds(steps, 0)[0] for steps in (100, 200, 400)]
    assert times == sorted(times)
    assert times[0] > 0


def test_two_jobs_and_blocks_say_nothing_about_a_job_of_its_own():
    assert samples([100, 200], [1.0, 2.0]).seconds(100, 0) is None
    blocks = Samples("bucket", tuple(RunTime(8, 100, 6400, 10.0, 4.0) for _ in range(5)))
    assert blocks.seconds(100, 6400) is None
    assert blocks.device_seconds(640) == pytest.approx((0.4, 0.4))
