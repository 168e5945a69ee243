"""What the program does with connects, tried with real ones in a scratch cgroup."""

import errno
import socket
import sys
import threading
import time
from functools import partial

import pytest

from consul_ebpf import BccMapBackend, Server, Table, Vip
from consul_ebpf.base.steps import STEP
from tests.kernel.clients import (
    IPV4_CLIENTS,
    IPV6_CLIENTS,
    UDP_CLIENTS,
    Peer,
    why_missing,
)
from tests.kernel.conftest import (
    DRAINING,
    FAILING,
    READY,
    VIP,
    Kernel,
    connect,
    endpoint,
    listening,
    rows,
    table,
)

pytestmark = pytest.mark.kernel


def peers(count: int) -> list[Peer]:
    return [connect() for _ in range(count)]


@pytest.mark.parametrize("name", IPV4_CLIENTS)
def test_fault_73_every_kind_of_ipv4_client_is_redirected(
    kernel: Kernel, servers: list[Server], name: str
) -> None:
    """Address and port are the server's, however the program connects."""
    if reason := why_missing(name):
        pytest.skip(reason)
    with kernel.open() as backend:
        backend.apply(table(servers[:1]))
        client = partial(IPV4_CLIENTS[name], "127.64.0.1", 8502)
        assert kernel.call(client) == endpoint(servers[0])


@pytest.mark.parametrize("name", IPV6_CLIENTS)
def test_fault_71_every_kind_of_ipv6_client_is_redirected(
    kernel: Kernel, name: str
) -> None:
    """The IPv4-mapped VIP leads AF_INET6 sockets, V6ONLY or not, to IPv6 servers."""
    if reason := why_missing(name):
        pytest.skip(reason)
    with listening("::1") as server, kernel.open() as backend:
        backend.apply(table([server]))
        client = partial(IPV6_CLIENTS[name], "127.64.0.1", 8502)
        assert kernel.call(client) == ("::1", server.port)


@pytest.mark.parametrize("name", UDP_CLIENTS)
def test_fault_72_udp_is_left_alone(
    kernel: Kernel, servers: list[Server], name: str
) -> None:
    """A datagram socket's peer is the VIP itself."""
    with kernel.open() as backend:
        backend.apply(table(servers))
        peer = kernel.call(partial(UDP_CLIENTS[name], "127.64.0.1", 8502))
        assert peer[1] == 8502
        assert peer[0].removeprefix("::ffff:") == "127.64.0.1"


@pytest.mark.parametrize("name", [*IPV4_CLIENTS, *IPV6_CLIENTS])
@pytest.mark.parametrize("address", ["127.64.0.2", "127.127.255.254"])
def test_fault_103_an_unknown_vip_is_refused(
    kernel: Kernel, servers: list[Server], name: str, address: str
) -> None:
    """Whoever listens on every address of the host must not get a token."""
    if reason := why_missing(name):
        pytest.skip(reason)
    with kernel.open(vip_port=8599) as backend, listening("0.0.0.0", 8599):
        backend.apply(table(servers))
        client = (IPV4_CLIENTS | IPV6_CLIENTS)[name]
        with pytest.raises(PermissionError):
            kernel.call(partial(client, address, 8599))


def test_fault_103_a_vip_that_was_is_refused(
    kernel: Kernel, servers: list[Server]
) -> None:
    """Before it was made and after it was taken away: always while attached."""
    there = partial(connect, "127.64.0.1", 8599)
    with kernel.open(vip_port=8599) as backend, listening("0.0.0.0", 8599):
        with pytest.raises(PermissionError):
            kernel.call(there)
        backend.apply(Table(rows(servers), {Vip(VIP.address, 8599): (0,)}))
        assert kernel.call(there) == endpoint(servers[0])
        backend.apply(Table(rows(servers)))
        with pytest.raises(PermissionError):
            kernel.call(there)


def test_fault_103_the_port_is_the_configured_one(
    kernel: Kernel, servers: list[Server]
) -> None:
    """At another one 8502 is like any other port."""
    with kernel.open(vip_port=853) as backend, listening("127.64.0.2", 8502) as other:
        backend.apply(Table(rows(servers), {Vip(VIP.address, 853): (0,)}))
        assert kernel.call(partial(connect, "127.64.0.1", 853)) == endpoint(servers[0])
        assert kernel.call(partial(connect, "127.64.0.2", 8502)) == endpoint(other)
        with pytest.raises(PermissionError):
            kernel.call(partial(connect, "127.64.0.2", 853))


def test_another_port_of_the_range_is_left_alone(
    kernel: Kernel, servers: list[Server]
) -> None:
    """Also of a VIP: the connect goes where it says."""
    with kernel.open() as backend, listening("127.64.0.1", 8503) as other:
        backend.apply(table(servers))
        assert kernel.call(partial(connect, "127.64.0.1", 8503)) == endpoint(other)


def test_bystanders_are_left_alone(kernel: Kernel, servers: list[Server]) -> None:
    """Connects elsewhere, IPv4 and IPv6, go where they say."""
    with (
        kernel.open() as backend,
        listening("127.0.13.1") as four,
        listening("::1") as six,
    ):
        backend.apply(table(servers))
        for server in (four, six):
            reached = kernel.call(partial(connect, str(server.address), server.port))
            assert reached == endpoint(server)


def test_outside_the_cgroup_nothing_is_redirected(
    kernel: Kernel, servers: list[Server]
) -> None:
    """The program is attached to the one cgroup it was told."""
    with kernel.open() as backend:
        backend.apply(table(servers))
        with pytest.raises(ConnectionRefusedError):
            connect()


def test_a_retry_gets_the_next_server(kernel: Kernel, servers: list[Server]) -> None:
    """Connects go round the preference, each one further."""
    with kernel.open() as backend:
        backend.apply(table(servers))
        expected = [endpoint(servers[n % 3]) for n in range(7)]
        assert kernel.call(partial(peers, 7)) == expected


def test_a_connect_long_after_the_last_leaves_its_server_too(
    kernel: Kernel, servers: list[Server]
) -> None:
    """One that hung may have held the last connection for hours: only the count of
    failures asks how long it is ago."""

    def later() -> list[Peer]:
        reached = []
        for pause in (0.0, 0.0, 0.4, 0.4):
            time.sleep(pause)
            reached.append(connect())
        return reached

    with kernel.open(retry_window=0.2) as backend:
        backend.apply(table(servers))
        first, second, third = map(endpoint, servers)
        assert kernel.call(later) == [first, second, third, first]
        counted = backend.read().servers
        assert [counted[slot].failures for slot in range(3)] == [1, 0, 0]


def test_a_preference_is_followed_over_all_eight_places(kernel: Kernel) -> None:
    """Any order of slots, up to eight, the last place too."""
    order = (9, 2, 30, 254, 7, 1, 100, 4)
    with listening("127.0.12.9") as server, kernel.open() as backend:
        dead = Server.at("127.0.12.250", 1)
        states = rows([dead] * 255, *[FAILING] * 255)
        for slot in order:
            live = rows([server], READY, first=slot)
            backend.apply(Table({**states, **live}, {VIP: order}))
            assert kernel.call(connect) == endpoint(server)


@pytest.mark.parametrize("state", [FAILING, DRAINING])
def test_a_server_that_is_not_ready_gets_no_connect(
    kernel: Kernel, servers: list[Server], state: object
) -> None:
    """The second choice gets them, at once."""
    with kernel.open() as backend:
        backend.apply(Table(rows(servers, state), {VIP: (0, 1)}))  # type: ignore[arg-type]
        assert kernel.call(partial(peers, 3)) == [endpoint(servers[1])] * 3


@pytest.mark.parametrize("address", ["127.64.0.1", "::ffff:127.64.0.1"])
def test_fault_12_nothing_ready_is_refused_at_once(
    kernel: Kernel, servers: list[Server], address: str
) -> None:
    """EPERM from connect(), and nobody on the VIP itself is reached."""
    vip = Vip(VIP.address, 8599)
    with kernel.open() as backend, listening("0.0.0.0", 8599):
        unready = rows(servers, FAILING, FAILING, DRAINING)
        backend.apply(Table(unready, {vip: (0, 1, 2)}))
        with pytest.raises(PermissionError):
            kernel.call(partial(connect, address, 8599))
        backend.apply(Table(rows(servers, READY, FAILING, FAILING), {vip: (0, 1, 2)}))
        reached = kernel.call(partial(connect, address, 8599))
        assert reached[0].removeprefix("::ffff:") == str(servers[0].address)


def test_a_vip_without_choices_is_refused(kernel: Kernel) -> None:
    """A proxy placed before any server is known does not leave the host."""
    with kernel.open() as backend:
        backend.apply(Table({}, {VIP: ()}))
        with pytest.raises(PermissionError):
            kernel.call(connect)


def test_fault_22_a_server_of_the_other_family_is_passed_over(
    kernel: Kernel, servers: list[Server]
) -> None:
    """An IPv4 socket cannot reach an IPv6 server: the next one is taken."""
    with listening("::1") as six, kernel.open() as backend:
        backend.apply(table([six, servers[0]]))
        assert kernel.call(partial(peers, 2)) == [endpoint(servers[0])] * 2


def test_a_dual_stack_server_is_reached_by_either_family(kernel: Kernel) -> None:
    """An IPv4 VIP leads to its IPv4 address, the mapped one to its IPv6 address."""
    with listening("127.0.12.7") as four, listening("::1", four.port):
        dual = Server("dual", four.port, four.ipv4, Server.at("::1", 1).ipv6)
        with kernel.open() as backend:
            backend.apply(table([dual]))
            assert kernel.call(connect) == endpoint(four)
            mapped = partial(connect, "::ffff:127.64.0.1")
            assert kernel.call(mapped) == ("::1", four.port)


def test_connects_are_counted(kernel: Kernel, servers: list[Server]) -> None:
    """Per server and per VIP, with the retries that gave a server up."""
    with kernel.open() as backend:
        backend.apply(table(servers))
        kernel.call(partial(peers, 5))
        state = backend.read()
        connects = [state.servers[slot].connects for slot in range(3)]
        failures = [state.servers[slot].failures for slot in range(3)]
        assert (connects, failures) == ([2, 2, 1], [2, 1, 1])
        assert state.vips[VIP].connects == 5
        assert state.vips[VIP].current == 1


def test_the_newest_sockets_are_known_by_cookie(
    kernel: Kernel, servers: list[Server]
) -> None:
    """What is recorded is what the kernel calls the socket, with its slot."""

    def cookie() -> int:
        with socket.create_connection(("127.64.0.1", 8502)) as sock:
            return int.from_bytes(sock.getsockopt(socket.SOL_SOCKET, 57, 8), "little")

    with kernel.open() as backend:
        backend.apply(table(servers))
        cookies = [kernel.call(cookie) for _ in range(6)]
        recorded = backend.read().vips[VIP].sockets
        expected = {(cookies[n], n % 3) for n in (2, 3, 4, 5)}
        assert set(recorded) == expected


def test_a_new_first_choice_gets_the_next_connect(
    kernel: Kernel, servers: list[Server]
) -> None:
    """A changed plan is followed at once; without one the server in use stays."""
    with kernel.open() as backend:
        backend.apply(Table(rows(servers), {VIP: (0, 1, 2)}))
        kernel.call(partial(peers, 2))  # now at slot 1
        backend.apply(Table(rows(servers), {VIP: (2, 1, 0)}))
        assert kernel.call(connect) == endpoint(servers[2])


def test_fault_75_readers_see_the_old_or_the_new_table(kernel: Kernel) -> None:
    """While servers and preferences change, each connect reaches a real server."""
    with (
        listening("127.0.12.21") as a,
        listening("127.0.12.22") as b,
        kernel.open() as backend,
    ):
        both = {endpoint(a), endpoint(b)}
        one = Table(rows([a]), {VIP: (0,)})
        other = Table(rows([b], first=1), {VIP: (1,)})
        backend.apply(one)

        def hammer() -> tuple[set[Peer], list[int | None]]:
            reached: set[Peer] = set()
            failed: list[int | None] = []
            end = time.monotonic() + 2
            while time.monotonic() < end:
                try:
                    reached.add(connect())
                except OSError as error:
                    failed.append(error.errno)
            return reached, failed

        answers: list[tuple[set[Peer], list[int | None]]] = []
        thread = threading.Thread(target=lambda: answers.append(kernel.call(hammer)))
        thread.start()
        changes = 0
        while thread.is_alive():
            backend.apply(other if changes % 2 == 0 else one)
            changes += 1
            time.sleep(0.0005)
        thread.join()
        assert changes > 10
        assert answers == [(both, [])]


def test_fault_75_sockets_noted_during_a_change_are_kept(
    kernel: Kernel, servers: list[Server]
) -> None:
    """Each VIP's row is read just before it is written, not all before the first."""
    vips = [Vip(VIP.address + n, 8502) for n in range(20)]
    connected: list[str] = []
    writes = 0

    def hook(event: str, args: tuple[object, ...]) -> None:
        """Connect by the last VIP when the first is about to be written."""
        nonlocal writes
        if backend is None or event != STEP or args[0] != "write to vips":
            return
        writes += 1
        if writes == 1:
            connected.append(kernel.call(partial(connect, str(vips[-1].address)))[0])

    backend: BccMapBackend | None = None
    sys.addaudithook(hook)
    with kernel.open() as opened:
        opened.apply(Table(rows(servers), dict.fromkeys(vips, (0, 1, 2))))
        backend = opened
        opened.apply(Table(rows(servers), dict.fromkeys(vips, (1, 2, 0))))
        backend = None
        assert writes == len(vips)
        assert connected == [str(servers[0].address)]
        assert len(opened.read().vips[vips[-1]].sockets) == 1
        assert opened.read().vips[vips[-1]].connects == 1


def test_many_vips_do_not_touch_each_other(
    kernel: Kernel, servers: list[Server]
) -> None:
    """Each VIP has its own preference, cursor and count."""
    vips = [Vip(VIP.address + n, 8502) for n in range(300)]
    with kernel.open() as backend:
        backend.apply(
            Table(rows(servers), {vip: (n % 3,) for n, vip in enumerate(vips)})
        )

        def each() -> list[Peer]:
            return [connect(str(vip.address)) for vip in vips]

        expected = [endpoint(servers[n % 3]) for n in range(300)]
        assert kernel.call(each) == expected
        state = backend.read()
        assert [state.vips[vip].connects for vip in vips] == [1] * 300


def test_a_refused_connect_says_so_to_the_program(
    kernel: Kernel, servers: list[Server]
) -> None:
    """A dead server's RST reaches the program; its retry reaches the next server."""
    dead = Server.at("127.0.12.250", 1)

    def twice() -> tuple[int, Peer]:
        with socket.socket() as sock:
            first = sock.connect_ex(("127.64.0.1", 8502))
        return first, connect()

    with kernel.open() as backend:
        backend.apply(table([dead, *servers[:2]]))
        assert kernel.call(twice) == (errno.ECONNREFUSED, endpoint(servers[0]))
