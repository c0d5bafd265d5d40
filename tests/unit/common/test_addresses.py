"""Which addresses may be called from inside the network of the service."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from leym.common.addresses import is_public, literal

PRIVATE = (
    *("127.0.0.1", "127.8.9.10", "0.0.0.0", "10.0.0.1", "172.16.3.4", "192.168.1.1", "169.254.169.254", "224.0.0.1"),
    *("100.100.100.200", "168.63.129.16", "192.0.0.192", "255.255.255.255", "198.18.0.1", "240.0.0.1"),
    *("::1", "::", "fe80::1", "fd00:ec2::254", "ff02::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254"),
    *("64:ff9b::a00:1", "2002:7f00:1::", "2001:db8::1", "fec0::1", "64:ff9b:1::1"),
)
PUBLIC = ("1.1.1.1", "93.184.216.34", "2606:4700:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101")


@pytest.mark.parametrize("text", PRIVATE)
def test_an_address_of_this_machine_of_a_private_network_or_of_metadata_is_not_public(text: str) -> None:
    assert not is_public(ip_address(text))


@pytest.mark.parametrize("text", PUBLIC)
def test_an_address_of_the_internet_is_public(text: str) -> None:
    assert is_public(ip_address(text))


@pytest.mark.parametrize("host", ["127.1", "0x7f000001", "2130706433", "0177.0.0.1", "localhost", "LOCALHOST.", "::1"])
def test_every_way_to_write_loopback_is_recognised(host: str) -> None:
    found = literal(host)
    assert found is not None
    assert found.is_loopback


def test_a_name_is_no_literal_address() -> None:
    assert [literal(host) for host in ("example.org", "127.example.org", "dead.beef")] == [None] * 3
