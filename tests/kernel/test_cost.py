"""What a call costs inside our programs, as a ratio to an empty one, in one run.

The kernel's own account (kernel.bpf_stats_enabled), which adds its overhead to each.
Rounds take turns, and the least of each is compared: noise only ever adds.
"""

import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import pytest

from consul_ebpf import Server, Table, Vip
from consul_ebpf.kernel.program import CONNECT, DNS, Program
from tests.kernel.conftest import VIP, Kernel, rows
from tests.kernel.dns_lab import ADDRESS, PORT, open_dns
from tests.kernel.dns_lab import table as dns_table
from tests.kernel.resolving import responding
from tests.lab.attached import EMPTY, Runs, attached, counted_runs
from tests.lab.scratch import scratch_bpffs, scratch_cgroup

pytestmark = [pytest.mark.kernel, pytest.mark.alone]

BYSTANDER = 1.15
REDIRECTED = 4.5
ROUNDS = range(40, 400)
"""At least and at most: on a busy machine the least settles later."""
CALLS = 160

Call = Callable[[int], object]
"""Makes the system call, the n-th time."""


@pytest.fixture
def stats() -> Iterator[None]:
    with counted_runs():
        yield


@pytest.fixture
def empty() -> Iterator[Kernel]:
    """An empty program at every hook of ours, attached in a cgroup of its own."""
    with (
        scratch_cgroup() as cgroup,
        scratch_bpffs() as bpffs,
        attached(EMPTY, cgroup, bpffs),
    ):
        yield Kernel(cgroup, bpffs)


def connecting(address: Callable[[int], tuple[str, int]]) -> Call:
    def call(n: int) -> None:
        with socket.socket() as sock:
            sock.setblocking(False)
            sock.connect_ex(address(n))

    return call


def to_nobody(_: int) -> tuple[str, int]:
    return "127.0.0.1", 1


def sending() -> Call:
    """Send datagrams, with an address, to somebody who does not read them."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    reader = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    reader.bind(("127.0.0.1", 0))
    where = reader.getsockname()
    return lambda _: (sock.sendto(b".", where), reader.recv(1))


def receiving() -> Call:
    """Receive datagrams, with the address they came from."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    where = sock.getsockname()
    return lambda _: (sock.sendto(b".", where), sock.recvfrom(1))


def naming() -> Call:
    """Ask who is at the other end."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.connect(("127.0.0.1", 9))
    return lambda _: sock.getpeername()


def asking() -> Call:
    """Send queries to the VIP of DNS, and leave the answers."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    return lambda _: sock.sendto(b"?", ADDRESS)


def hearing() -> Call:
    """Receive answers from the VIP."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.settimeout(5)
    return lambda _: (sock.sendto(b"?", ADDRESS), sock.recvfrom(16))


@dataclass(frozen=True)
class Measured:
    """A program's run at one hook."""

    kernel: Kernel
    program: Program
    hook: str
    call: Callable[[], Call]

    def mean_ns(self) -> float:
        """Return the mean over some calls, in ns."""
        bpffs, program, hook = self.kernel.bpffs, self.program, self.hook

        def calls() -> float:
            call = self.call()
            for n in range(CALLS):
                if n == CALLS // 4:  # what came before warmed the caches
                    before = Runs.of(bpffs, program, hook)
                with suppress(BlockingIOError):
                    call(n)
            return Runs.of(bpffs, program, hook).mean_since(before)

        return self.kernel.call(calls)


def measure(
    runs: Mapping[str, Measured], most: Mapping[str, tuple[str, float]]
) -> dict[str, float]:
    """Return ns by name, after as many rounds as it takes to be within `most`.

    `most` has the name that one is compared to, and the largest ratio.
    """
    seen: dict[str, list[float]] = {name: [] for name in runs}
    for done in range(1, ROUNDS.stop):
        for name, run in runs.items():
            seen[name].append(run.mean_ns())
        least = {name: min(values) for name, values in seen.items()}
        good = all(least[n] <= least[base] * most_ for n, (base, most_) in most.items())
        if done >= ROUNDS.start and good:
            break
    for name, (base, ratio) in most.items():
        was = least[name] / least[base]
        print(f"{name}: {least[name]:.0f} ns, {was:.2f} x {base}, at most {ratio}")
    return least


def within(least: Mapping[str, float], most: Mapping[str, tuple[str, float]]) -> None:
    for name, (base, ratio) in most.items():
        assert (name, least[name] / least[base] <= ratio) == (name, True)


def test_connects_cost_little(
    kernel: Kernel, empty: Kernel, servers: list[Server], stats: None
) -> None:
    """A bystander's at most 1.15 times an empty program, a redirected one's 4.5.

    With DNS on, each of the two programs is within that.
    """

    def redirected(n: int) -> tuple[str, int]:
        return f"127.64.0.{1 + n % 6}", 8502

    elsewhere = partial(connecting, to_nobody)
    most = {
        "bystander": ("empty", BYSTANDER),
        "bystander of DNS": ("empty", BYSTANDER),
        "redirected": ("empty", REDIRECTED),
    }
    with kernel.open() as backend, open_dns(kernel) as dns:
        vips = {Vip(VIP.address + n, 8502): (0, 1, 2) for n in range(6)}
        backend.apply(Table(rows(servers), vips))
        runs = {
            "empty": Measured(empty, EMPTY, "connect4", elsewhere),
            "bystander": Measured(kernel, CONNECT, "connect4", elsewhere),
            "bystander of DNS": Measured(kernel, DNS, "connect4", elsewhere),
            "redirected": Measured(
                kernel, CONNECT, "connect4", partial(connecting, redirected)
            ),
        }
        within(measure(runs, most), most)
        dns.detach()


def test_datagrams_cost_little(kernel: Kernel, empty: Kernel, stats: None) -> None:
    """A bystander's at most 1.15 times an empty program, at each hook of DNS."""
    bystanders = {"sendmsg4": sending, "recvmsg4": receiving, "getpeername4": naming}
    most = {hook: (f"empty {hook}", BYSTANDER) for hook in bystanders}
    runs = {
        **{
            f"empty {hook}": Measured(empty, EMPTY, hook, call)
            for hook, call in bystanders.items()
        },
        **{
            hook: Measured(kernel, DNS, hook, call) for hook, call in bystanders.items()
        },
        "asking": Measured(kernel, DNS, "sendmsg4", asking),
        "hearing": Measured(kernel, DNS, "recvmsg4", hearing),
    }
    most |= {"asking": ("empty sendmsg4", 8.0), "hearing": ("empty recvmsg4", 8.0)}
    with responding("127.0.15.1", PORT) as one, open_dns(kernel) as dns:
        dns.apply(dns_table([one]))
        within(measure(runs, most), most)
        dns.detach()
