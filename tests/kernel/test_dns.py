"""What the DNS program does with queries, tried with real ones in a scratch cgroup."""

import errno
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from consul_ebpf import BccMapBackend, Server, ServerState
from consul_ebpf.kernel.namespaces import HelperNamespaces
from consul_ebpf.kernel.pins import Pins
from consul_ebpf.kernel.program import DNS
from consul_ebpf.planning.sockets import sockets_of
from tests.kernel.clients import IPV4, IPV6, ONLY_IPV6, Peer, why_missing
from tests.kernel.conftest import FAILING, Kernel, connect, endpoint
from tests.kernel.conftest import table as connect_table
from tests.kernel.dns_lab import ADDRESS, PORT, open_dns, programs, table
from tests.kernel.resolving import (
    ASKERS,
    Answer,
    Responder,
    ask_by,
    by_tcp,
    connected,
    receive,
    responding,
    unconnected,
)
from tests.lab.processes import wait_until

pytestmark = pytest.mark.kernel


@pytest.fixture
def responders() -> Iterator[list[Responder]]:
    with ExitStack() as stack:
        every = [responding(f"127.0.15.{n}", PORT) for n in (1, 2, 3)]
        yield [stack.enter_context(each) for each in every]


@pytest.fixture
def dns(kernel: Kernel) -> Iterator[BccMapBackend]:
    with open_dns(kernel) as backend:
        yield backend
        backend.detach()


def refused(asker: Callable[[], Answer]) -> int:
    """Return the errno of an asker's error."""
    try:
        asker()
    except OSError as error:
        return error.errno or 0
    return 0


def test_every_kind_of_asker_is_answered_from_the_vip(
    kernel: Kernel, dns: BccMapBackend, responders: list[Responder]
) -> None:
    """By a server, which the asker sees nothing of, wherever it looks."""
    dns.apply(table(responders[:1]))
    for name, asker in ASKERS.items():
        if why_missing(name):
            continue
        answer = kernel.call(partial(asker, *ADDRESS))
        mapped = name.endswith("ipv6")
        shown = f"::ffff:{ADDRESS[0]}" if mapped else ADDRESS[0]
        assert (name, answer) == (name, ("127.0.15.1", (shown, ADDRESS[1])))


def test_the_mapped_vip_leads_to_a_server_with_only_an_ipv6_address(
    kernel: Kernel, dns: BccMapBackend
) -> None:
    """Connected sockets, V6ONLY or not. Other datagrams cannot: the kernel sends what
    goes to a mapped address by IPv4, so those are refused."""
    with responding("::1", PORT, "six") as six:
        dns.apply(table([six]))
        shown = (f"::ffff:{ADDRESS[0]}", ADDRESS[1])
        for family in (IPV6, ONLY_IPV6):
            for asker in (connected, by_tcp):
                said = kernel.call(partial(asker, family, *ADDRESS))
                assert said == ("six", shown)
        with pytest.raises(PermissionError):
            kernel.call(partial(unconnected, IPV6, *ADDRESS))
        with pytest.raises(PermissionError):
            kernel.call(partial(connected, IPV4, *ADDRESS))


def test_who_asks_a_server_itself_hears_that_server(
    kernel: Kernel, dns: BccMapBackend, responders: list[Responder]
) -> None:
    """Connected or not, by UDP or TCP: only what went through the VIP is translated."""
    dns.apply(table(responders))
    for asker in (connected, unconnected, by_tcp):
        answer = kernel.call(partial(asker, IPV4, "127.0.15.2", PORT))
        assert answer == ("127.0.15.2", ("127.0.15.2", PORT))


def test_fault_141_with_nothing_ready_a_query_is_refused_and_never_leaves(
    kernel: Kernel, dns: BccMapBackend, responders: list[Responder]
) -> None:
    """EPERM at once, even where somebody listens on the VIP itself."""
    with responding(*ADDRESS) as stranger:
        dns.apply(table(responders, FAILING, FAILING, FAILING))
        for name, asker in ASKERS.items():
            if not why_missing(name):
                with pytest.raises(PermissionError):
                    kernel.call(partial(asker, *ADDRESS))
        assert not stranger.asked


def test_other_ports_of_the_vips_address_are_left_alone(
    kernel: Kernel, dns: BccMapBackend, responders: list[Responder]
) -> None:
    """As are other addresses, by UDP and TCP."""
    dns.apply(table(responders))
    where = (ADDRESS[0], ADDRESS[1] + 1)
    with responding(*where) as other:
        for asker in (connected, unconnected, by_tcp):
            assert kernel.call(partial(asker, IPV4, *where)) == (other.name, where)


def test_a_late_reply_comes_from_the_vip_when_its_server_has_left_the_table(
    kernel: Kernel, dns: BccMapBackend, responders: list[Responder]
) -> None:
    """What a socket asked lives with the socket, not with the row."""
    first, second = responders[:2]
    first.silent.set()
    dns.apply(table([first]))
    steps = (os.pipe(), os.pipe())

    def ask() -> tuple[Answer, Answer, Peer]:
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as loose,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound,
        ):
            for sock in (loose, bound):
                sock.settimeout(5)
            loose.sendto(b"?", ADDRESS)
            bound.connect(ADDRESS)
            bound.send(b"?")
            os.write(steps[0][1], b".")
            os.read(steps[1][0], 1)
            return receive(loose), receive(bound), bound.getpeername()

    answers: list[object] = []
    thread = threading.Thread(target=lambda: answers.append(kernel.call(ask)))
    thread.start()
    os.read(steps[0][0], 1)
    while first.asked["udp"] < 2:
        time.sleep(0.01)
    dns.apply(table([second], first=1))
    first.answer_late()
    os.write(steps[1][1], b".")
    thread.join()
    for descriptor in (*steps[0], *steps[1]):
        os.close(descriptor)
    assert answers == [((first.name, ADDRESS), (first.name, ADDRESS), ADDRESS)]


def test_only_the_cgroups_that_are_named_may_ask(
    kernel: Kernel, responders: list[Responder]
) -> None:
    """And those below; one that is made anew may, once that is seen."""
    named, other = kernel.cgroup / "named", kernel.cgroup / "other"
    below = named / "below"
    for directory in (named, below, other):
        directory.mkdir()

    def ask_in(directory: Path, asker: Callable[..., Answer]) -> int:
        moved = Kernel(directory, kernel.bpffs)
        return moved.call(partial(refused, partial(asker, IPV4, *ADDRESS)))

    absent = str(kernel.cgroup / "absent")
    with open_dns(kernel, cgroups=[absent, str(named)]) as backend:
        backend.apply(table(responders))
        for asker in (connected, unconnected, by_tcp):
            answers = [ask_in(each, asker) for each in (named, below, other)]
            assert answers == [0, 0, 1]
        for directory in (below, named):
            directory.rmdir()
        named.mkdir()
        assert ask_in(named, unconnected) == 1
        assert backend.mend() == ()
        assert ask_in(named, unconnected) == 0
        backend.detach()
    for directory in (named, other):
        directory.rmdir()


def test_off_is_detached_and_nothing_pinned(
    kernel: Kernel, servers: list[Server], responders: list[Responder]
) -> None:
    """The VIP is an ordinary address again, and the other program is not touched."""
    with kernel.open() as other:
        other.apply(connect_table(servers[:1]))
        theirs = Pins(kernel.bpffs).links()
        backend = open_dns(kernel)
        backend.apply(table(responders))
        assert kernel.call(partial(unconnected, IPV4, *ADDRESS))[1] == ADDRESS
        assert kernel.call(connect) == endpoint(servers[0])
        assert set(programs(kernel).values()) == {1, 2}
        backend.detach()
        assert not Pins(kernel.bpffs, DNS).root.exists()

        def attached() -> set[str]:
            return {hook for hook, count in programs(kernel).items() if count}

        # Linux 5.10 was seen to have them a moment longer than their last pin.
        wait_until(lambda: attached() == {"connect4", "connect6"}, "DNS' links to go")
        with pytest.raises(ConnectionRefusedError):
            kernel.call(partial(connected, IPV4, *ADDRESS))
        assert Pins(kernel.bpffs).links() == theirs
        assert other.mend() == ()
        assert kernel.call(connect) == endpoint(servers[0])
        other.detach()


def test_queries_are_counted_by_server(
    kernel: Kernel, dns: BccMapBackend, responders: list[Responder]
) -> None:
    """With those that it did not answer, and those led past it."""
    responders[1].silent.set()
    dns.apply(table(responders))

    def ask() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for _ in range(9):
                refused(partial(ask_by, sock, *ADDRESS, seconds=0.3))

    kernel.call(ask)
    state = dns.read()
    counted = [state.servers[slot].connects for slot in range(3)]
    assert sum(counted) == 9
    assert counted[1] == 1
    assert [state.servers[slot].failures for slot in range(3)] == [0, 1, 0]
    (vip,) = state.vips.values()
    assert vip.connects == 9
    assert vip.failures in {3, 4}


def test_a_server_that_fails_is_asked_no_more_after_one_write(
    kernel: Kernel, dns: BccMapBackend, responders: list[Responder]
) -> None:
    """By new sockets and by one that asked it before."""
    dns.apply(table(responders))
    state: ServerState = FAILING

    def ask(times: int) -> set[str]:
        return {unconnected(IPV4, *ADDRESS)[0] for _ in range(times)}

    assert len(kernel.call(partial(ask, 6))) == 3
    assert dns.apply(table(responders, state)).servers == 1
    assert kernel.call(partial(ask, 6)) == {"127.0.15.2", "127.0.15.3"}


def test_fault_147_connected_sockets_of_a_dead_server_are_cut(
    kernel: Kernel, dns: BccMapBackend, responders: list[Responder]
) -> None:
    """UDP and TCP, IPv4 and IPv6 sockets; none that asks the server itself, none of
    another server."""
    dead = responders[0]
    dead.silent.set()
    connected_there, cut = os.pipe(), os.pipe()

    def wait() -> list[int]:
        told = []
        with ExitStack() as stack:
            ways = [
                (socket.AF_INET, socket.SOCK_DGRAM, ADDRESS),
                (socket.AF_INET6, socket.SOCK_DGRAM, (f"::ffff:{ADDRESS[0]}", 53)),
                (socket.AF_INET, socket.SOCK_STREAM, ADDRESS),
                (socket.AF_INET, socket.SOCK_DGRAM, ("127.0.15.1", PORT)),
                (socket.AF_INET, socket.SOCK_DGRAM, ("127.0.15.2", PORT)),
            ]
            sockets = []
            for family, kind, where in ways:
                sock = stack.enter_context(socket.socket(family, kind))
                sock.connect(where)
                sock.send(b"?")
                sockets.append(sock)
            os.write(connected_there[1], b".")
            os.read(cut[0], 1)
            for sock in sockets:
                sock.setblocking(False)
                told.append(refused(partial(receive, sock)))
        return told

    dns.apply(table([dead]))
    answers: list[list[int]] = []
    thread = threading.Thread(target=lambda: answers.append(kernel.call(wait)))
    thread.start()
    os.read(connected_there[0], 1)
    state = dns.read()
    sockets = sockets_of(state, state.vips)
    assert {each.server.endpoint for each in sockets} == {dead.server.endpoint}
    namespaces = HelperNamespaces.start()
    try:
        assert namespaces.destroy(sockets) == 3
        assert namespaces.destroy(sockets) == 0
    finally:
        namespaces.close()
    os.write(cut[1], b".")
    thread.join()
    for descriptor in (*connected_there, *cut):
        os.close(descriptor)
    aborted, waiting = errno.ECONNABORTED, errno.EAGAIN
    assert answers == [[aborted, aborted, aborted, waiting, 0]]
