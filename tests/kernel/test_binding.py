"""A VIP that is bound is refused from elsewhere, exactly like an unknown one."""

import errno
import socket
from collections.abc import Callable
from functools import partial

import pytest

from consul_ebpf import Binding, Server, Table, Vip
from tests.kernel.clients import IPV4, IPV6, blocking
from tests.kernel.conftest import (
    VIP,
    Kernel,
    connect,
    endpoint,
    needs_netns_cookies,
    rows,
)
from tests.lab.scratch import Netns, scratch_netns

pytestmark = pytest.mark.kernel

SO_NETNS_COOKIE = 71
UNKNOWN = "127.64.9.9"
REFUSED = f"{errno.EPERM}"


def cookie() -> int:
    """Return that of the network namespace we are in."""
    with socket.socket() as sock:
        packed = sock.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8)
    return int.from_bytes(packed, "little")


def bound(servers: list[Server], binding: Binding) -> Table:
    return Table(rows(servers), {VIP: tuple(range(len(servers)))}, {VIP: binding})


def outcome(function: Callable[[], object]) -> str:
    try:
        return f"{function()}"
    except OSError as error:
        return f"{error.errno}"


def inside(kernel: Kernel, netns: Netns, function: Callable[[], object]) -> str:
    """Call in the scratch cgroup, in a network namespace; return what came of it."""
    return kernel.call(lambda: netns.call(lambda: outcome(function)))


@needs_netns_cookies
def test_from_its_own_namespace_a_vip_leads_to_a_server(
    kernel: Kernel, servers: list[Server]
) -> None:
    """And counts there; IPv4 and IPv4-mapped."""
    with kernel.open() as backend:
        backend.apply(bound(servers, Binding(netns=cookie())))
        assert kernel.call(connect) == endpoint(servers[0])
        mapped = kernel.call(partial(blocking, IPV6, "127.64.0.1", 8502))
        assert mapped[0].removeprefix("::ffff:") == str(servers[1].address)
        assert backend.read().vips[VIP].connects == 2


@needs_netns_cookies
def test_fault_70_from_another_namespace_it_is_like_an_unknown_address(
    kernel: Kernel, servers: list[Server]
) -> None:
    """The same error at once, nothing counted, nothing moved."""
    with kernel.open() as backend, scratch_netns() as other:
        backend.apply(bound(servers, Binding(netns=cookie())))
        before = backend.read()
        for family in (IPV4, IPV6):
            there = inside(kernel, other, partial(blocking, family, "127.64.0.1", 8502))
            unknown = inside(kernel, other, partial(blocking, family, UNKNOWN, 8502))
            assert there == unknown
            assert there == REFUSED
        assert backend.read() == before
        backend.apply(bound(servers, Binding(netns=other.call(cookie))))
        assert outcome(lambda: kernel.call(connect)) == REFUSED
        # Redirected in there, where no server is: refused by its lo, not by us.
        inside(kernel, other, connect)
        assert backend.read().vips[VIP].connects == 1


@needs_netns_cookies
def test_fault_27_two_pods_vips_are_each_their_own(
    kernel: Kernel, servers: list[Server]
) -> None:
    """Two VIPs, two namespaces: each is known in its own only."""
    second = Vip(VIP.address + 1, VIP.port)
    with (
        kernel.open() as backend,
        scratch_netns(["127.0.12.9"]) as one,
        scratch_netns(["127.0.12.9"]) as two,
    ):
        vips = {VIP: (0,), second: (0,)}
        backend.apply(
            Table(
                rows([Server.at("127.0.12.9", 8502)]),
                vips,
                {VIP: Binding(one.call(cookie)), second: Binding(two.call(cookie))},
            )
        )
        for netns in (one, two):
            for vip in vips:
                inside(kernel, netns, partial(connect, str(vip.address)))
        counted = backend.read().vips
        assert {vip: counted[vip].connects for vip in vips} == {VIP: 1, second: 1}


def test_a_cgroup_and_those_below_it_may_use_its_vip(
    kernel: Kernel, servers: list[Server]
) -> None:
    """A pod on the host's network is told by its cgroup; its containers are below."""
    pod = kernel.cgroup / "pod"
    container = pod / "container"
    other = kernel.cgroup / "other"
    for cgroup in (pod, container, other):
        cgroup.mkdir()
    with kernel.open() as backend:
        backend.apply(bound(servers, Binding(cgroup=pod.stat().st_ino, level=2)))
        for cgroup in (pod, container):
            there = Kernel(cgroup, kernel.bpffs)
            assert there.call(connect)[0].startswith("127.0.12.")
        for cgroup in (other, kernel.cgroup):
            there = Kernel(cgroup, kernel.bpffs)
            assert outcome(partial(there.call, connect)) == REFUSED
        assert backend.read().vips[VIP].connects == 2
        assert backend.read().table.bindings == {
            VIP: Binding(cgroup=pod.stat().st_ino, level=2)
        }


@needs_netns_cookies
def test_a_binding_is_changed_and_taken_away(
    kernel: Kernel, servers: list[Server]
) -> None:
    """Counters and cursor stay; unbound it is anybody's again."""
    with kernel.open() as backend:
        backend.apply(bound(servers, Binding(netns=cookie() + 1)))
        assert outcome(lambda: kernel.call(connect)) == REFUSED
        backend.apply(bound(servers, Binding(netns=cookie())))
        kernel.call(connect)
        applied = backend.apply(Table(rows(servers), {VIP: (0, 1, 2)}))
        assert applied.vips_put == 1
        kernel.call(connect)
        assert backend.read().vips[VIP].connects == 2
