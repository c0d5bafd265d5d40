"""The addresses that a service without tokens may listen on."""

from __future__ import annotations

import pytest

from app.identity import check_address


@pytest.mark.parametrize(
    ("addresses", "open_to_others"),
    [
        ([("127.0.0.1", 8000)], False),
        ([("::1", 8000, 0, 0)], False),
        ([("localhost", 80)], False),
        (["/run/leym.sock"], False),
        ([("0.0.0.0", 8000)], True),
        ([("", 8000)], True),
        ([("::", 8000)], True),
        ([("127.0.0.1", 1), ("192.168.1.2", 1)], True),
        ([("somewhere.example", 80)], True),
    ],
)
def test_without_tokens_only_loopback_is_served(addresses, open_to_others):
    assert (check_address(addresses, has_tokens=False) is not None) == open_to_others
    assert check_address(addresses, has_tokens=True) is None
