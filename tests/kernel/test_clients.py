"""The clients themselves, without a program: each reports the peer it really has."""

import errno
import os
import socket
from collections.abc import Iterator

import pytest

from tests.kernel.clients import (
    IPV4_CLIENTS,
    IPV6_CLIENTS,
    UDP_CLIENTS,
    Client,
    why_missing,
)

ADDRESS = "127.0.6.3"


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with socket.create_server((ADDRESS, 0), backlog=64) as listener:
        yield listener.getsockname()[1]


@pytest.fixture
def closed_port() -> Iterator[int]:
    with socket.socket() as bound:  # and not listening
        bound.bind((ADDRESS, 0))
        yield bound.getsockname()[1]


def usable(name: str) -> Client:
    if why := why_missing(name):
        pytest.skip(why)
    return (IPV4_CLIENTS | IPV6_CLIENTS)[name]


DUAL = [name for name in IPV6_CLIENTS if name.endswith("-ipv6")]
ONLY = [name for name in IPV6_CLIENTS if name.endswith("-ipv6-only")]


@pytest.mark.parametrize("name", IPV4_CLIENTS)
def test_ipv4(name: str, port: int) -> None:
    """The listener is the peer."""
    assert (ADDRESS, port) == usable(name)(ADDRESS, port)


@pytest.mark.parametrize("name", DUAL)
def test_ipv6_mapped(name: str, port: int) -> None:
    """The listener is the peer, in its IPv6 form."""
    assert (f"::ffff:{ADDRESS}", port) == usable(name)(ADDRESS, port)


@pytest.mark.parametrize("name", ONLY)
def test_ipv6_only(name: str, port: int) -> None:
    """An IPv4 address is out of reach, and at once."""
    with pytest.raises(OSError, match=os.strerror(errno.ENETUNREACH)):
        usable(name)(ADDRESS, port)


@pytest.mark.parametrize("name", [*IPV4_CLIENTS, *DUAL])
def test_refused(name: str, closed_port: int) -> None:
    """The kernel's error comes through, from whichever way of connecting."""
    with pytest.raises(ConnectionRefusedError):
        usable(name)(ADDRESS, closed_port)


@pytest.mark.parametrize("name", UDP_CLIENTS)
def test_udp(name: str) -> None:
    """Connected means no more than that the address is remembered."""
    mapped = "" if name.endswith("ipv4") else "::ffff:"
    assert (mapped + ADDRESS, 9) == UDP_CLIENTS[name](ADDRESS, 9)
