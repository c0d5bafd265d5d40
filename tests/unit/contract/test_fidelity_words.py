"""A verdict in words: a pass of little power says so, and missing numbers are not invented."""

from __future__ import annotations

from math import nan

import pytest

from leym.contract.fidelity_words import outcome_in_words, power_in_words, regime_in_words


@pytest.mark.parametrize(
    ("outcome", "power", "words"),
    [
        ("pass", 0.43, "pass, with power 0.43 only"),
        ("pass", 0.8, "pass"),
        ("pass", None, "pass"),
        ("pass", nan, "pass"),
        ("fail", 0.1, "fail"),
    ],
)
def test_a_weak_pass_says_so(outcome, power, words):
    assert outcome_in_words(outcome, power) == words


def test_the_power_comes_with_what_it_would_take():
    assert power_in_words(0.43, 167) == "smallest power of the deciding metrics: 0.43; 167 members would give 0.8"
    assert power_in_words(0.9, 40) == "smallest power of the deciding metrics: 0.90"
    assert power_in_words(None, None) == power_in_words(nan, None) == ""


def test_a_regime_shows_the_evidence_that_there_is():
    evidence = {"activity": 0.1, "activity_low": 0.09, "activity_high": 0.11, "recurrence": 0.998, "period": 16.0}
    said = regime_in_words({"label": "periodic", "evidence": evidence | {"lyapunov": None, "travel": nan}})
    assert said == "regime in fp32: periodic (activity 0.1 [0.09, 0.11], best return 0.998, period 16)"
    assert regime_in_words({}) == ""
    assert regime_in_words({"label": "undecided", "evidence": {}}) == "regime in fp32: undecided"
