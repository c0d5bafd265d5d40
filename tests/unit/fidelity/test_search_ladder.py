"""The order in which weights get more bits, and the search on the ladder: pure functions against a known answer."""

from __future__ import annotations

import pytest

from leym.fidelity.search_ladder import Weight, climb, ordered, rungs


def weight(key, score, *, error=0.0, form="nf4", sizes=(10, 20, 40)):
    return Weight(key, "backbone", form, dict(zip(("nf4", "int8", "16"), sizes, strict=True)), score, error)


def test_the_order_is_harm_per_byte_and_ties_go_by_the_first_step():
    large, small = weight("large", 0.4, sizes=(100, 200, 400)), weight("small", 0.2)
    quiet, quieter = weight("quiet", 0.0, error=0.2), weight("quieter", 0.0, error=0.1)
    assert [w.key for w in ordered([quieter, large, quiet, small])] == ["small", "large", "quiet", "quieter"]


def test_rungs_raise_one_weight_at_a_time_and_leave_out_formats_that_save_nothing():
    encoder, tiny = weight("encoder", 0, form="int8"), weight("tiny", 0, sizes=(10, 50, 30))
    assert rungs([encoder, tiny, weight("b", 0)]) == [
        {},
        {"encoder": "16"},
        {"encoder": "16", "tiny": "16"},
        {"encoder": "16", "tiny": "16", "b": "int8"},
        {"encoder": "16", "tiny": "16", "b": "16"},
    ]
    assert rungs([]) == [{}]


@pytest.mark.parametrize("smallest", range(12))
def test_the_climb_finds_the_smallest_rung_with_few_dear_judgements(smallest):
    refused, judged = [], []
    found = climb(11, lambda k: refused.append(k) or k < smallest, lambda k: judged.append(k) or k >= smallest)
    assert found == smallest
    assert judged == [smallest]
    assert len(refused) <= 5


def test_the_climb_goes_on_where_the_screening_was_too_kind_and_ends_at_the_last_rung():
    judged = []
    assert climb(9, lambda k: k < 3, lambda k: judged.append(k) or k >= 6) == 6
    assert judged == [3, 4, 5, 6]
    judged.clear()
    assert climb(4, lambda k: True, lambda k: bool(judged.append(k))) is None
    assert judged == [4]
    assert climb(0, lambda k: True, lambda k: True) == 0
