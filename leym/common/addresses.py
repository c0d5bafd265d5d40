"""Tells addresses of the public internet from those of this machine, of a private network and of cloud metadata."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address

# of special use by the registries of IANA, where `ipaddress` of some version of Python calls them global; and Azure's
# metadata, since the other clouds' is at link-local or private addresses
SPECIAL = tuple(
    map(ip_network, ("192.0.0.0/24", "192.88.99.0/24", "64:ff9b:1::/48", "3fff::/20", "fec0::/10", "168.63.129.16/32"))
)
NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052: the last 32 bits are an IPv4 address


def is_public(address: Address) -> bool:
    """Return True for a unicast address of the public internet.

    False for loopback, private, link-local, multicast, reserved and metadata addresses, and for IPv6 addresses that
    contain such an IPv4 address (mapped, 6to4, Teredo, NAT64).
    """
    inner = embedded(address)
    if inner is not None and not is_public(inner):
        return False
    if address.is_multicast or any(address in network for network in SPECIAL):
        return False
    return address.is_global or inner is not None


def embedded(address: Address) -> IPv4Address | None:
    """Return the IPv4 address that an IPv6 address leads to; None if there is none."""
    if isinstance(address, IPv4Address):
        return None
    if address in NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)


def literal(host: str) -> Address | None:
    """Return the address that a host of a URL spells out; None for a name.

    Resolvers also take forms such as `127.1`, `0x7f000001` and `2130706433`. `localhost` is this machine by RFC 6761.
    """
    name = host.rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return IPv4Address("127.0.0.1")
    try:
        return ip_address(name.partition("%")[0])
    except ValueError:
        pass
    try:
        return IPv4Address(socket.inet_aton(name))
    except OSError:
        return None
