"""Which server a query goes to: never the one that did not answer the last try."""

import os
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from functools import partial

import pytest

from consul_ebpf import BccMapBackend
from consul_ebpf.kernel import codec
from consul_ebpf.kernel.install import install
from consul_ebpf.kernel.pins import Pins
from consul_ebpf.kernel.program import DNS
from tests.kernel.conftest import Kernel
from tests.kernel.dns_lab import ADDRESS, DNS_VIP, PORT, open_dns, table
from tests.kernel.resolving import Responder, ask_by, receive, responding

pytestmark = pytest.mark.kernel

TRY_SECONDS = 0.3
TRIES = 3

Try = Callable[[], str]
"""Asks once and returns who answered, or raises TimeoutError."""


@pytest.fixture
def responders() -> Iterator[list[Responder]]:
    with ExitStack() as stack:
        every = [responding(f"127.0.23.{n}", PORT) for n in (1, 2, 3)]
        yield [stack.enter_context(each) for each in every]


@pytest.fixture
def dns(kernel: Kernel, responders: list[Responder]) -> Iterator[BccMapBackend]:
    with open_dns(kernel) as backend:
        backend.apply(table(responders))
        yield backend
        backend.detach()


def datagram() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.settimeout(TRY_SECONDS)
    return sock


def by_a_new_connected_socket() -> str:
    with datagram() as sock:
        return ask_connected(sock)


def by_a_new_socket_without_an_address() -> str:
    """As many programs do: the kernel does not show us their replies."""
    with datagram() as sock:
        sock.connect(ADDRESS)
        sock.send(b"?")
        return sock.recv(4096).decode()


def by_a_new_unconnected_socket() -> str:
    with datagram() as sock:
        return ask_by(sock, *ADDRESS, seconds=TRY_SECONDS)[0]


def by_one_socket() -> Try:
    """As musl does."""
    sock = datagram()
    return lambda: ask_by(sock, *ADDRESS, seconds=TRY_SECONDS)[0]


def by_one_socket_connected_anew() -> Try:
    sock = datagram()
    return lambda: ask_connected(sock)


def ask_connected(sock: socket.socket) -> str:
    """Connect, once more if it is connected, and ask."""
    sock.connect(ADDRESS)
    sock.send(b"?")
    return receive(sock)[0]


WAYS: dict[str, Callable[[], Try]] = {
    "connected": lambda: by_a_new_connected_socket,
    "unconnected": lambda: by_a_new_unconnected_socket,
    "unseen": lambda: by_a_new_socket_without_an_address,
    "same": by_one_socket,
    "same, connected anew": by_one_socket_connected_anew,
}
"""Each makes a way to ask: in the process that asks, for a socket is of a cgroup."""


def tries_of(ask: Try, queries: int = 10) -> list[int]:
    """Return how many tries each query took; more than `TRIES` is no answer."""
    tries = range(1, TRIES + 1)
    return [next((n for n in tries if answers(ask)), 99) for _ in range(queries)]


def tries_by(way: Callable[[], Try]) -> list[int]:
    return tries_of(way())


def share_by(way: Callable[[], Try], queries: int) -> Counter[str]:
    return share(way(), queries)


def thrice(ask: Try) -> list[bool]:
    return [answers(ask) for _ in range(3)]


def share(ask: Try, queries: int) -> Counter[str]:
    return Counter(ask() for _ in range(queries))


def answers(ask: Try) -> bool:
    try:
        return bool(ask())
    except (TimeoutError, ConnectionRefusedError):
        return False


def test_fault_142_the_next_try_never_goes_to_the_silent_server(
    kernel: Kernel, dns: BccMapBackend, responders: list[Responder]
) -> None:
    """By new sockets, by the same one, connected anew or not: the second try is
    answered. Where replies are seen, a silent server costs one try, not one in three.
    """
    silent = responders[1]
    silent.silent.set()
    for name, way in WAYS.items():
        before = silent.asked["udp"]
        tries = kernel.call(partial(tries_by, way))
        # A thread may have been given the memory of one that has ended.
        expected = range(7) if name == "unseen" else range(2)
        assert (name, max(tries) <= 2) == (name, True)
        assert (name, silent.asked["udp"] - before in expected) == (name, True)


def test_fault_142_two_silent_servers_cost_two_tries(
    kernel: Kernel, dns: BccMapBackend, responders: list[Responder]
) -> None:
    """The third is never one of those."""
    for each in responders[:2]:
        each.silent.set()
    for ask in (by_a_new_connected_socket, by_a_new_socket_without_an_address):
        assert max(kernel.call(partial(tries_of, ask, 5))) <= 3


def test_fault_142_as_many_tries_as_servers_reach_each_of_them(
    kernel: Kernel, dns: BccMapBackend, responders: list[Responder]
) -> None:
    """Also when the one that is back was silent just now, and the others fall silent:
    where all seem silent, the one asked longest ago is next."""

    def work(way: Callable[[], Try], turned: int, go: int, gone: int) -> int:
        ask = way()
        for _ in range(4 + turned):  # finds out which is silent; begins at any place
            answers(ask)
        os.write(gone, b".")
        os.read(go, 1)
        return tries_of(ask, 1)[0]

    for turned, way in enumerate(WAYS.values()):
        for each in responders:
            each.silent.clear()
        responders[1].silent.set()
        (go, send_go), (gone, send_gone) = os.pipe(), os.pipe()
        tries: list[int] = []
        child = partial(work, way, turned, go, send_gone)
        thread = threading.Thread(
            target=lambda c=child, t=tries: t.append(kernel.call(c))
        )
        thread.start()
        os.read(gone, 1)
        for number, each in enumerate(responders):
            (each.silent.clear if number == 1 else each.silent.set)()
        os.write(send_go, b".")
        thread.join()
        for descriptor in (go, send_go, gone, send_gone):
            os.close(descriptor)
        assert max(tries) <= 3


def test_fault_159_a_refused_try_goes_elsewhere_though_all_others_were_silent(
    kernel: Kernel, dns: BccMapBackend, responders: list[Responder]
) -> None:
    """A server that answered is killed, and the others are back since a moment: a
    refusal comes at once, before the server can count as silent."""
    others = responders[:2]
    (go, send_go), (gone, send_gone) = os.pipe(), os.pipe()

    def work(killed: Responder) -> list[bool]:
        killed._datagrams.close()  # this process has it, too
        for _ in range(9):  # finds out which are silent
            answers(by_a_new_connected_socket)
        os.write(send_gone, b".")
        os.read(go, 1)
        return [answers(by_a_new_connected_socket) for _ in range(2)]

    tries: list[list[bool]] = []
    for each in others:
        each.silent.set()
    with responding("127.0.15.4", PORT) as killed:
        dns.apply(table([*others, killed]))
        child = partial(work, killed)
        thread = threading.Thread(target=lambda: tries.append(kernel.call(child)))
        thread.start()
        os.read(gone, 1)
    for each in others:
        each.silent.clear()
    os.write(send_go, b".")
    thread.join()
    for descriptor in (go, send_go, gone, send_gone):
        os.close(descriptor)
    assert tries == [[False, True]]


def test_fault_159_a_server_that_owes_an_answer_is_not_asked_by_the_next_sockets(
    kernel: Kernel, dns: BccMapBackend, responders: list[Responder]
) -> None:
    """Many queries at once in one thread: those that a dead server refused go on to
    the others, whatever the thread asked meanwhile."""
    responders[0].silent.set()

    def ask() -> list[bool]:
        with ExitStack() as stack:
            for _ in responders:  # one of them does not answer
                sock = stack.enter_context(datagram())
                sock.settimeout(0.03)
                with suppress(TimeoutError):
                    ask_connected(sock)
            return [answers(by_a_new_connected_socket) for _ in range(6)]

    assert kernel.call(ask) == [True] * 6
    assert responders[0].asked["udp"] == 1


def test_fault_142_two_queries_at_once_are_each_answered_by_the_second_try(
    kernel: Kernel, dns: BccMapBackend, responders: list[Responder]
) -> None:
    """A and AAAA by one socket, as musl asks: what is not answered is asked again."""
    responders[0].silent.set()

    def pairs() -> list[int]:
        missing = []
        with datagram() as sock:
            for _ in range(6):
                for _ in range(2):
                    sock.sendto(b"?", ADDRESS)
                heard = hear(sock, 2)
                for _ in range(2 - heard):
                    sock.sendto(b"?", ADDRESS)
                missing.append(2 - heard - hear(sock, 2 - heard))
        return missing

    def hear(sock: socket.socket, count: int) -> int:
        return sum(answers(lambda: receive(sock)[0]) for _ in range(count))

    assert kernel.call(pairs) == [0] * 6
    assert responders[0].asked["udp"] == 1
    # Where one is left it gets both, for an unconnected socket is not told of refusals.
    responders[1].silent.set()
    before = sum(each.asked["udp"] for each in responders[:2])
    assert kernel.call(pairs)[2:] == [0] * 4
    assert sum(each.asked["udp"] for each in responders[:2]) <= before + 4


def test_fault_142_threads_and_forks_do_not_disturb_each_other(
    kernel: Kernel, dns: BccMapBackend, responders: list[Responder]
) -> None:
    """Each thread has its own turn; a socket keeps its turn in a child."""
    responders[2].silent.set()

    def by_threads() -> list[int]:
        taken: list[int] = []
        asks = (by_a_new_connected_socket, by_a_new_unconnected_socket) * 2
        threads = [
            threading.Thread(target=lambda ask=ask: taken.extend(tries_of(ask)))
            for ask in asks
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return taken

    def by_a_fork() -> bool:
        ask = by_one_socket()
        while answers(ask):
            pass
        child = os.fork()
        if not child:
            os._exit(0 if answers(ask) else 1)
        return os.waitpid(child, 0)[1] == 0

    taken = kernel.call(by_threads)
    assert (len(taken), max(taken) <= 2) == (40, True)
    assert kernel.call(by_a_fork)


def test_load_is_spread_evenly(
    kernel: Kernel, dns: BccMapBackend, responders: list[Responder]
) -> None:
    """Over one thread's sockets, one socket's queries, and processes that ask once."""

    for way in ("connected", "unconnected", "same"):
        counted = kernel.call(partial(share_by, WAYS[way], 90))
        assert set(counted.values()) == {30}
    once = [kernel.call(by_a_new_connected_socket) for _ in range(60)]
    assert min(Counter(once).values()) >= 12


def test_fault_142_where_all_are_silent_they_are_asked_in_turn(
    kernel: Kernel, dns: BccMapBackend, responders: list[Responder]
) -> None:
    """A plain round robin, and no server is left out of it."""
    for each in responders:
        each.silent.set()
    ask = partial(answers, by_a_new_connected_socket)
    kernel.call(lambda: [ask() for _ in range(6)])
    assert [each.asked["udp"] for each in responders] == [2, 2, 2]


def test_fault_142_a_silent_server_is_tried_again_by_one_query(
    kernel: Kernel, responders: list[Responder]
) -> None:
    """After a while, which is a second here; once it answers it has its full share."""
    responders[0].silent.set()
    said = codec.dns_defines(DNS_VIP, PORT, limited=False)
    said["FORGET"] = said["QUIET"] * 5
    with Pins(kernel.bpffs, DNS) as pins:
        backend = BccMapBackend(pins, install(pins, kernel.cgroup, said))
        backend.apply(table(responders))

        def ask_on(receive_go: int) -> tuple[int, int, Counter[str]]:
            ask = by_one_socket()
            first = sum(not answers(ask) for _ in range(12))
            time.sleep(1.1)
            second = sum(not answers(ask) for _ in range(12))
            os.read(receive_go, 1)
            time.sleep(1.1)
            return first, second, share(ask, 30)

        go, send_go = os.pipe()
        answered: list[tuple[int, int, Counter[str]]] = []
        thread = threading.Thread(
            target=lambda: answered.append(kernel.call(partial(ask_on, go)))
        )
        thread.start()
        while responders[0].asked["udp"] < 2:
            time.sleep(0.01)
        responders[0].silent.clear()
        os.write(send_go, b".")
        thread.join()
        for descriptor in (go, send_go):
            os.close(descriptor)
        ((first, second, shares),) = answered
        assert (first, second) == (1, 1)
        assert min(shares.values()) >= 9
        backend.detach()


def test_fault_143_a_process_with_very_many_threads_takes_nobodys_answers(
    kernel: Kernel, dns: BccMapBackend, responders: list[Responder]
) -> None:
    """It pushes other threads out of the table, but nothing of a socket's memory; who
    is pushed out takes part in the plain round robin."""

    def flood() -> int:
        sock = datagram()

        def one() -> None:
            sock.sendto(b"?", ADDRESS)

        for _ in range(codec.MAX_ASKERS + 4000):
            thread = threading.Thread(target=one)
            thread.start()
            thread.join()
        return dns_rows()

    def dns_rows() -> int:
        tables = Pins(kernel.bpffs, DNS).open_tables()
        return sum(1 for _ in tables["askers"].items())

    rows: list[int] = []
    flooding = threading.Thread(target=lambda: rows.append(kernel.call(flood)))
    flooding.start()
    responders[1].silent.set()

    while flooding.is_alive():
        assert max(kernel.call(partial(tries_by, by_one_socket))) <= 2
        assert any(kernel.call(partial(thrice, by_a_new_connected_socket)))
    flooding.join()
    assert rows[0] <= codec.MAX_ASKERS
