"""Numbers that JSON cannot represent become null, wherever they are in a value."""

from __future__ import annotations

from math import inf, nan

from leym.common.strict_json import nan_to_null


def test_numbers_that_are_not_finite_become_null_at_any_depth() -> None:
    value = {"a": nan, "b": [inf, 1.5, (-inf, 2)], "c": {"d": nan, "e": "nan", "f": True}, "g": None}
    expected = {"a": None, "b": [None, 1.5, [None, 2]], "c": {"d": None, "e": "nan", "f": True}, "g": None}
    assert nan_to_null(value) == expected
