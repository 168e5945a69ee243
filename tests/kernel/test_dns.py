"""What the DNS program does with queries, tried with real ones in a scratch cgroup."""

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from ipaddress import IPv4Address

import pytest

from consul_ebpf import BccMapBackend, Service, SlottedServer, Table, Vip
from tests.kernel.conftest import READY, Kernel
from tests.kernel.resolving import ASKERS, Responder, responding

pytestmark = pytest.mark.kernel

PORT = 8653
SERVICE = Service("dns", PORT)
DNS_VIP = Vip(IPv4Address("127.64.0.53"), 53)


@pytest.fixture
def responders() -> Iterator[list[Responder]]:
    with ExitStack() as stack:
        yield [
            stack.enter_context(responding(f"127.0.15.{n}", PORT)) for n in (1, 2, 3)
        ]


@pytest.fixture
def dns(kernel: Kernel) -> Iterator[BccMapBackend]:
    with open_dns(kernel) as backend:
        yield backend
        backend.detach()


def open_dns(kernel: Kernel, **settings: object) -> BccMapBackend:
    return BccMapBackend.open_dns(
        vip=DNS_VIP,
        server_port=PORT,
        cgroup=str(kernel.cgroup),
        bpffs=str(kernel.bpffs),
        **settings,  # type: ignore[arg-type]
    )


def table(responders: list[Responder], *states: object) -> Table:
    every = [*states, *[READY] * (len(responders) - len(states))]
    rows = {
        slot: SlottedServer(slot, each.server, state, SERVICE)  # type: ignore[arg-type]
        for slot, (each, state) in enumerate(zip(responders, every, strict=True))
    }
    return Table(rows, {DNS_VIP: tuple(rows)})


def test_every_kind_of_asker_is_answered_from_the_vip(
    kernel: Kernel, dns: BccMapBackend, responders: list[Responder]
) -> None:
    """By a server, which the asker sees nothing of, wherever it looks."""
    dns.apply(table(responders[:1]))
    for name, asker in ASKERS.items():
        answer = kernel.call(partial(asker, "127.64.0.53", 53))
        shown = "::ffff:127.64.0.53" if name.endswith("ipv6") else "127.64.0.53"
        assert (name, answer) == (name, ("127.0.15.1", (shown, 53)))
