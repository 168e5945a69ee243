"""One host for all tests of DNS: they change nothing that another one sees."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.lab.dns_host import DnsHost

PAGE = Path(__file__).parents[2] / "docs/dns.md"
MANY = tuple(f"10.9.0.{n}" for n in range(1, 101))
"""Addresses of a service whose answer fits into no datagram of 1,232 bytes."""


@pytest.fixture(scope="session")
def host(consul_bin: Path) -> Iterator[DnsHost]:
    dns_config = {"enable_truncate": True, "udp_answer_limit": len(MANY)}
    with DnsHost(consul_bin, consul_config={"dns_config": dns_config}) as host:
        for name, address in (("web", "10.77.0.1"), ("six", "fd77::1")):
            register(host, name, name, address)
        for n, address in enumerate(MANY):
            register(host, "many", f"many-{n}", address)
        yield host


def register(host: DnsHost, service: str, node: str, address: str) -> None:
    body = {
        "Node": node,
        "Address": address,
        "Service": {"ID": node, "Service": service, "Address": address, "Port": 9090},
    }
    host.cluster.call("PUT", "/v1/catalog/register", body)


@pytest.fixture(scope="session")
def page() -> Callable[[str], str]:
    """Return the configuration below a heading of docs/dns.md."""
    text = PAGE.read_text()

    def configuration(heading: str) -> str:
        section = re.search(
            rf"^### {re.escape(heading)}\n(.*?)(?=^##|\Z)",
            text,
            re.MULTILINE | re.DOTALL,
        )
        assert section, f"no section {heading} in {PAGE}"
        block = re.search(r"^```\w*\n(.*?)^```", section[1], re.MULTILINE | re.DOTALL)
        assert block, f"no configuration below {heading} in {PAGE}"
        return block[1]

    return configuration
