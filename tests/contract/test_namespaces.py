"""What every `Namespaces` does: the one of dicts, and the privileged helper."""

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from consul_ebpf import Doomed, KernelError, Namespaces, Server
from consul_ebpf.kernel.namespaces import HelperNamespaces
from consul_ebpf.kernel.requests import PER_SECOND
from consul_ebpf.testing import FakeNamespaces
from tests.kernel.conftest import listening
from tests.lab.scratch import scratch_netns

SO_COOKIE, SO_NETNS_COOKIE = 57, 71


@dataclass
class World:
    """A `Namespaces`, and a way to make namespaces and sockets for it."""

    namespaces: Namespaces
    netns: Callable[[], tuple[str, int]]
    """Make a network namespace; return its path and cookie."""
    socket: Callable[[], tuple[int, Server]]
    """Open a connection; return its cookie and where it leads."""
    is_open: Callable[[int], bool]
    """Whether a connection is still there, by its cookie."""


@contextmanager
def in_memory() -> Iterator[World]:
    fake = FakeNamespaces()

    def netns() -> tuple[str, int]:
        path = f"/run/netns/{len(fake.cookies)}"
        fake.cookies[path] = 1000 + len(fake.cookies)
        return path, fake.cookies[path]

    def connection() -> tuple[int, Server]:
        number = len(fake.sockets) + 1
        fake.sockets[number] = Server.at("10.0.0.1", 8502)
        return number, fake.sockets[number]

    yield World(fake, netns, connection, lambda cookie: cookie in fake.sockets)


def number_of(sock: socket.socket, option: int) -> int:
    return int.from_bytes(sock.getsockopt(socket.SOL_SOCKET, option, 8), "little")


@contextmanager
def on_this_host() -> Iterator[World]:
    with ExitStack() as stack:
        helper = HelperNamespaces.start()
        stack.callback(helper.close)
        server = stack.enter_context(listening("127.0.16.1"))
        sockets: dict[int, socket.socket] = {}

        def netns() -> tuple[str, int]:
            made = stack.enter_context(scratch_netns())
            with made.call(socket.socket) as inside:
                return str(made.path), number_of(inside, SO_NETNS_COOKIE)

        def connection() -> tuple[int, Server]:
            sock = socket.create_connection(("127.0.16.1", server.port))
            stack.callback(sock.close)
            cookie = number_of(sock, SO_COOKIE)
            sockets[cookie] = sock
            return cookie, server

        def is_open(cookie: int) -> bool:
            sock = sockets[cookie]
            sock.setblocking(False)
            try:
                sock.recv(1)
            except BlockingIOError:
                return True
            except ConnectionAbortedError:
                return False
            raise AssertionError("the server closed it, not we")

        yield World(helper, netns, connection, is_open)


@pytest.fixture(
    params=[
        pytest.param(in_memory, id="memory"),
        pytest.param(on_this_host, id="helper", marks=pytest.mark.kernel),
    ]
)
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    with request.param() as made:
        yield made


def test_each_namespace_has_its_own_cookie(world: World) -> None:
    """The one its own sockets have."""
    one, two = world.netns(), world.netns()
    assert one[1] != two[1]
    for path, cookie in (one, two, one):
        assert world.namespaces.cookie(path) == cookie


def test_a_namespace_that_is_not_there_is_named(world: World) -> None:
    """It may be later."""
    with pytest.raises(KernelError, match="/run/netns/none"):
        world.namespaces.cookie("/run/netns/none")


def test_only_the_sockets_named_are_destroyed(world: World) -> None:
    """By cookie; others to the same server stay."""
    one, two = world.socket(), world.socket()
    assert world.namespaces.destroy([Doomed(*one)]) == 1
    assert not world.is_open(one[0])
    assert world.is_open(two[0])


def test_fault_62_a_cookie_with_another_peer_is_left_alone(world: World) -> None:
    """One that connected elsewhere since is not the one that was meant."""
    cookie, server = world.socket()
    elsewhere = Server.at("127.0.16.9", server.port)
    assert world.namespaces.destroy([Doomed(cookie, elsewhere)]) == 0
    assert world.is_open(cookie)


def test_fault_62_a_cookie_that_is_gone_is_no_error(world: World) -> None:
    """A new connection has a new cookie, whatever its ports."""
    old, new = world.socket(), world.socket()
    assert world.namespaces.destroy([Doomed(*old)]) == 1
    assert world.namespaces.destroy([Doomed(*old)]) == 0
    assert world.namespaces.destroy([]) == 0
    assert world.is_open(new[0])


@pytest.mark.kernel
def test_sockets_in_other_namespaces_are_found() -> None:
    """A pod's, by their cookie, IPv4 and IPv4-mapped."""
    with scratch_netns() as netns, ExitStack() as stack:
        listener = stack.enter_context(netns.call(socket.socket))
        listener.bind(("127.0.16.2", 0))
        listener.listen()
        port = listener.getsockname()[1]
        server = Server.at("127.0.16.2", port)
        v6 = lambda: socket.socket(socket.AF_INET6)  # noqa: E731
        for family, address in ((socket.socket, ""), (v6, "::ffff:")):
            sock = stack.enter_context(netns.call(family))
            sock.connect((f"{address}127.0.16.2", port))
            helper = HelperNamespaces.start()
            stack.callback(helper.close)
            doomed = Doomed(number_of(sock, SO_COOKIE), server)
            assert helper.destroy([doomed]) == 1
            with pytest.raises(ConnectionAbortedError):
                sock.recv(1)


@pytest.mark.kernel
def test_fault_60_a_herd_is_spread_over_time() -> None:
    """As fast as the pace and no faster, measured against one alone."""
    count = 100
    with on_this_host() as world:
        doomed = [Doomed(*world.socket()) for _ in range(count)]
        begun = time.monotonic()
        assert world.namespaces.destroy([doomed.pop()]) == 1
        alone = time.monotonic() - begun
        begun = time.monotonic()
        assert world.namespaces.destroy(doomed) == len(doomed)
        together = time.monotonic() - begun
        least = (len(doomed) - 1) / PER_SECOND
        print(
            f"one: {alone:.2f} s, {len(doomed)}: {together:.2f} s, pace {least:.2f} s"
        )
        assert together >= least
        assert together <= least + 3 * alone + 0.5


WITHOUT = """
import sys
from consul_ebpf import Doomed, Server
from consul_ebpf.kernel.namespaces import HelperNamespaces
helper = HelperNamespaces.start()
server = Server.at(sys.argv[1], int(sys.argv[2]))
for call in (
    lambda: helper.destroy([Doomed(int(sys.argv[3]), server)]),
    lambda: helper.cookie(sys.argv[4]),
):
    try:
        print(call())
    except Exception as error:
        print(type(error).__name__, error)
helper.close()
"""


@pytest.mark.kernel
def test_fault_61_without_the_privilege_that_is_said(tmp_path: Path) -> None:
    """Which capability it needs; the connection stays."""
    with on_this_host() as world, scratch_netns() as netns:
        cookie, server = world.socket()
        ended = subprocess.run(
            [
                *("setpriv", "--bounding-set=-all", "--inh-caps=-all", "--"),
                *(sys.executable, "-c", WITHOUT, "127.0.16.1", str(server.port)),
                *(str(cookie), str(netns.path)),
            ],
            capture_output=True,
            text=True,
            check=True,
        )
        cut, entered = ended.stdout.splitlines()
        assert cut.startswith("PrivilegeError ")
        assert "CAP_NET_ADMIN" in cut
        assert entered.startswith("PrivilegeError ")
        assert "CAP_SYS_ADMIN" in entered
        assert world.is_open(cookie)


@pytest.mark.kernel
def test_fault_100_hundreds_of_cuts_keep_nobody_waiting() -> None:
    """A pod that starts meanwhile is looked at at once."""
    with on_this_host() as world:
        doomed = [Doomed(*world.socket()) for _ in range(500)]
        cut: list[int] = []
        cutting = threading.Thread(
            target=lambda: cut.append(world.namespaces.destroy(doomed))
        )
        cutting.start()
        longest = 0.0
        while cutting.is_alive():
            begun = time.monotonic()
            world.namespaces.cookie("/proc/self/ns/net")
            longest = max(longest, time.monotonic() - begun)
        cutting.join()
        assert cut == [500]
        assert longest < 1
