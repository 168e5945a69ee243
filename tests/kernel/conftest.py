"""Opened tables in a scratch cgroup, servers to be redirected to, and a way in."""

import os
import pickle
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, TypeVar

import pytest

from consul_ebpf import BccMapBackend, Server, ServerState, SlottedServer, Table, Vip
from consul_ebpf.kernel.sockets import own_netns_cookie
from tests.lab.scratch import scratch_bpffs, scratch_cgroup

T = TypeVar("T")

VIP = Vip(IPv4Address("127.64.0.1"), 8502)
READY, FAILING, DRAINING = ServerState.READY, ServerState.FAILING, ServerState.DRAINING


def _tells_netns_cookies() -> bool:
    try:
        return bool(own_netns_cookie())
    except OSError:
        return False


needs_netns_cookies = pytest.mark.skipif(
    not _tells_netns_cookies(), reason="this kernel has no SO_NETNS_COOKIE"
)
"""For tests that bind a VIP to a network namespace, or ask the helper which one."""


@dataclass
class Kernel:
    """Where a backend is opened."""

    cgroup: Path
    bpffs: Path

    def open(self, **settings: Any) -> BccMapBackend:
        """Open a backend here."""
        return BccMapBackend.open(
            cgroup=str(self.cgroup), bpffs=str(self.bpffs), **settings
        )

    def call(self, function: Callable[[], T]) -> T:
        """Call `function` in a child that is in the cgroup; return or raise its own."""
        receive, send = os.pipe()
        pid = os.fork()
        if not pid:
            try:
                (self.cgroup / "cgroup.procs").write_text(str(os.getpid()))
                answer: tuple[bool, Any] = (True, function())
            except BaseException as error:  # noqa: BLE001  # raised again by the parent
                answer = (False, error)
            with os.fdopen(send, "wb") as pipe:
                pickle.dump(answer, pipe)
            os._exit(0)
        os.close(send)
        with os.fdopen(receive, "rb") as pipe:
            good, value = pickle.load(pipe)
        os.waitpid(pid, 0)
        if not good:
            raise value
        return value  # type: ignore[no-any-return]


@contextmanager
def listening(address: str, port: int = 0) -> Iterator[Server]:
    """Accept connections and keep the newest open until the end."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket(family))
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen(4096)
        newest: deque[socket.socket] = deque(maxlen=64)

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    break
                if len(newest) == newest.maxlen:
                    newest.popleft().close()
                newest.append(connection)
            for connection in newest:
                connection.close()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield Server.at(address, listener.getsockname()[1])
        finally:
            listener.shutdown(socket.SHUT_RDWR)  # wakes accept()
            thread.join()


@pytest.fixture
def kernel() -> Iterator[Kernel]:
    with scratch_cgroup() as cgroup, scratch_bpffs() as bpffs:
        yield Kernel(cgroup, bpffs)


@pytest.fixture
def servers() -> Iterator[list[Server]]:
    with ExitStack() as stack:
        yield [stack.enter_context(listening(f"127.0.12.{n}")) for n in (1, 2, 3)]


def rows(
    servers: list[Server], *states: ServerState, first: int = 0
) -> dict[int, SlottedServer]:
    """Put servers into slots, ready unless said otherwise."""
    every = [*states, *[READY] * (len(servers) - len(states))]
    return {
        slot: SlottedServer(slot, server, state)
        for slot, (server, state) in enumerate(zip(servers, every, strict=True), first)
    }


def table(servers: list[Server], *states: ServerState) -> Table:
    """Make a table with one VIP that prefers the servers in their order."""
    return Table(rows(servers, *states), {VIP: tuple(range(len(servers)))})


def connect(address: str = "127.64.0.1", port: int = 8502) -> tuple[str, int]:
    """Connect once, blocking; return the peer."""
    with socket.create_connection((address, port), timeout=5) as sock:
        peer: tuple[str, int] = sock.getpeername()[:2]
        return peer


def endpoint(server: Server) -> tuple[str, int]:
    """Return a server as a peer."""
    return str(server.address), server.port
