"""Servers written down by hand."""

from contextlib import aclosing

import pytest

from consul_ebpf.model.errors import ConfigError
from consul_ebpf.model.values import Server
from consul_ebpf.servers.sources.static import StaticSource, parse_server


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("10.0.0.1", "10.0.0.1:8502"),
        ("10.0.0.1:1", "10.0.0.1:1"),
        ("10.0.0.1:65535", "10.0.0.1:65535"),
        ("fd00::1", "[fd00::1]:8502"),
        ("::1", "[::1]:8502"),
        ("[fd00::1]", "[fd00::1]:8502"),
        ("[FD00::1]:8503", "[fd00::1]:8503"),
    ],
)
def test_an_address_is_read(text: str, endpoint: str) -> None:
    """With a port or without, IPv6 in brackets or bare."""
    server = parse_server(text, 8502)
    assert endpoint == server.endpoint
    assert endpoint == server.id


@pytest.mark.parametrize(
    "text",
    [
        "",
        "consul.example",
        "consul.example:8502",
        "10.0.0",
        "10.0.0.1:",
        "10.0.0.1:0",
        "10.0.0.1:65536",
        "10.0.0.1:-1",
        "10.0.0.1:\u0661",
        "[fd00::1]8502",
        "[fd00::1]:",
        "[fd00::1",
        "[10.0.0.1]:http",
        "10.0.0.1 ",
    ],
)
def test_anything_else_is_named_in_an_error(text: str) -> None:
    """The error repeats the entry, so that it can be found."""
    with pytest.raises(ConfigError) as caught:
        StaticSource(["10.0.0.1", text])
    assert repr(text) in str(caught.value)


def test_an_empty_list_is_an_error() -> None:
    """A pool with no server would wait for ever."""
    with pytest.raises(ConfigError, match=r"consul\.addresses"):
        StaticSource([])


async def test_the_list_is_yielded_at_once() -> None:
    """In the order written."""
    async with aclosing(StaticSource(["10.0.0.2", "10.0.0.1:1"]).watch()) as lists:
        first = await anext(lists)
    assert (Server.at("10.0.0.2", 8502), Server.at("10.0.0.1", 1)) == first
