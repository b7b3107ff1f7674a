"""Which hosts and addresses on the internet may be connected to. Pure: no name is resolved here.

The plan asks about what a manifest says, the worker about every address that it is going to use.
"""

from __future__ import annotations

import ipaddress
import re
from ipaddress import IPv4Address, IPv6Address

_HOST = re.compile(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*")
_NUMERIC = re.compile(r"[0-9]+|0x[0-9a-f]*")
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")
_COMPATIBLE = ipaddress.IPv6Network("::/96")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_NEVER = (
    (ipaddress.IPv4Network("192.88.99.0/24"), "a relay address"),
    (ipaddress.IPv4Network("168.63.129.16/32"), "a cloud's own service address"),
    (ipaddress.IPv4Network("192.0.0.0/24"), "a protocol address"),
    (ipaddress.IPv6Network("3fff::/20"), "a documentation address"),
)


def plain_host(host: str) -> bool:
    """Return whether everybody reads `host` (ASCII, lower case) as the same name, or the same address.

    `127.1`, `2130706433` and `0x7f.1` are addresses to a resolver and names to everybody else.
    """
    if literal_address(host) is not None:
        return "%" not in host  # an IPv6 zone
    return len(host) <= 253 and not _NUMERIC.fullmatch(host.rpartition(".")[2]) and _HOST.fullmatch(host) is not None


def refused_address(address: str | IPv4Address | IPv6Address) -> str | None:
    """Return why an address may not be connected to (`a loopback address`), None where it may.

    An IPv6 address that carries an IPv4 one (mapped, NAT64, 6to4, Teredo, compatible) is judged by that one too,
    since Python's `is_global` says yes to NAT64 of 169.254.169.254, to fec0::1, to 224.0.0.1 and to ::7f00:1.
    """
    try:
        ip = ipaddress.ip_address(address) if isinstance(address, str) else address
    except ValueError:
        return "no address"
    if isinstance(ip, IPv6Address):
        for inner in _carried(ip):
            if (why := refused_address(inner)) is not None:
                return why
        if ip in _MAPPED or ip in _NAT64:
            return None
        if ip not in _GLOBAL_UNICAST:
            return _named(ip)
    for network, why in _NEVER:
        if ip in network:
            return why
    return None if ip.is_global and not ip.is_multicast else _named(ip)


def _carried(ip: IPv6Address) -> tuple[IPv4Address, ...]:
    low = IPv4Address(int(ip) & 0xFFFF_FFFF)
    if ip in _MAPPED or ip in _NAT64:
        return (low,)
    if ip in _COMPATIBLE and int(low) > 1:  # :: and ::1 are not carriers
        return (low,)
    if ip.sixtofour is not None:
        return (ip.sixtofour,)
    return ip.teredo or ()


def _named(ip: IPv4Address | IPv6Address) -> str:
    if ip.is_loopback:
        return "a loopback address"
    if ip.is_link_local:
        return "a link-local address"
    if ip.is_multicast:
        return "a multicast address"
    return "a private or reserved address"


def literal_address(host: str) -> IPv4Address | IPv6Address | None:
    """Return the address that a host is written as, None where it is a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
