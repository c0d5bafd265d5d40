"""Delays between retries: how they grow, where they end, how far chance moves them."""

from __future__ import annotations

from leym.common.backoff import Backoff


def test_delays_grow_by_the_factor_up_to_the_longest_one() -> None:
    assert [Backoff(1.0, longest_s=10.0).delay_s(n) for n in range(6)] == [1, 2, 4, 8, 10, 10]
    assert [Backoff(2.0, longest_s=5.0, factor=1.5).delay_s(n) for n in range(4)] == [2, 3, 4.5, 5]


def test_any_number_of_failures_gives_the_longest_delay() -> None:
    assert Backoff(0.2, longest_s=10.0).delay_s(10**6) == 10


def test_jitter_spreads_delays_evenly_around_the_exact_one_and_never_over_the_longest() -> None:
    backoff = Backoff(1.0, longest_s=4.5, jitter=0.25)
    first = [backoff.delay_s(1) for _ in range(300)]
    assert 1.5 <= min(first) < 1.7
    assert 2.3 < max(first) <= 2.5
    assert max(backoff.delay_s(2) for _ in range(300)) == 4.5
