"""Ids of many members at once are those of one after the other."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from leym.contract.ids import distance, id_after, ids_after, new_id


@given(counts=st.lists(st.integers(0, 10**7), max_size=50), start=st.integers(0, 5000))
def test_ids_after_an_id(counts: list[int], start: int) -> None:
    first = id_after(new_id(), start)
    found = ids_after(first, counts)
    assert found == [id_after(first, n) for n in counts]
    assert [distance(first, id) for id in found] == counts


def test_consecutive_ids_increase() -> None:
    found = ids_after(new_id(5000), range(5000))
    assert found == sorted(found)
    assert len(set(found)) == 5000
