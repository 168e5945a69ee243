"""The DNS program over restarts, upgrades, damage and kills: no query is lost."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from consul_ebpf import BccMapBackend, ConsulEbpfError, Server
from consul_ebpf.kernel import codec
from consul_ebpf.kernel.install import install
from consul_ebpf.kernel.pins import Pins
from consul_ebpf.kernel.program import DNS, Program
from tests.kernel import dns_scenario
from tests.kernel.clients import IPV4
from tests.kernel.conftest import Kernel, connect, endpoint
from tests.kernel.conftest import table as connect_table
from tests.kernel.dns_lab import ADDRESS, DNS_VIP, PORT, open_dns, programs, table
from tests.kernel.resolving import Answer, Responder, receive, responding, unconnected
from tests.lab.long import sample
from tests.lab.processes import wait_until

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]


@pytest.fixture
def responders() -> Iterator[list[Responder]]:
    with ExitStack() as stack:
        every = [responding(address, PORT) for address in dns_scenario.SERVERS]
        yield [stack.enter_context(each) for each in every]


def install_as(kernel: Kernel, program: Program) -> BccMapBackend:
    """Install another version of the program, as its controller does."""
    pins = Pins(kernel.bpffs, program)
    pins.lock()
    defines = codec.dns_defines(DNS_VIP, PORT, limited=False)
    try:
        return BccMapBackend(pins, install(pins, kernel.cgroup, defines))
    except ConsulEbpfError:
        pins.unlock()
        raise


@contextmanager
def waiting(kernel: Kernel, responder: Responder) -> Iterator[Callable[[], Answer]]:
    """Have a query under way at a silent server; what is yielded has its answer."""
    answers: list[Answer] = []

    def ask() -> Answer:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(20)
            sock.sendto(b"?", ADDRESS)
            return receive(sock)

    def answer() -> Answer:
        responder.answer_late()
        thread.join()
        return answers.pop()

    before = responder.asked["udp"]
    responder.silent.set()
    thread = threading.Thread(target=lambda: answers.append(kernel.call(ask)))
    thread.start()
    while responder.asked["udp"] == before:
        time.sleep(0.01)
    responder.silent.clear()
    yield answer


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"layout": DNS.layout + 1},
        {"tables": {**DNS.tables, "vips": replace(DNS.tables["vips"], entries=9)}},
        {"tables": {**DNS.tables, "one_more": replace(DNS.tables["cgroups"])}},
    ],
    ids=["restart", "layout", "size", "table"],
)
def test_a_query_under_way_is_answered_over_an_upgrade_and_a_downgrade(
    kernel: Kernel, responders: list[Responder], change: dict[str, object]
) -> None:
    """What sockets asked is in a table that every version goes on with."""
    other = replace(DNS, **change)  # type: ignore[arg-type]
    only = responders[:1]
    with open_dns(kernel) as backend:
        backend.apply(table(only))
    for version in (other, DNS):
        with waiting(kernel, only[0]) as answer:
            with install_as(kernel, version) as backend:
                assert backend.read().table.vips == table(only).vips
            assert answer() == (only[0].name, ADDRESS)
    assert set(programs(kernel).values()) == {1}


def test_a_query_under_way_is_answered_when_dns_is_switched_off(
    kernel: Kernel, responders: list[Responder]
) -> None:
    """Nothing is led any more, while the reply is still shown as the VIP's."""
    with open_dns(kernel) as backend:
        backend.apply(table(responders[:1]))
    pins = Pins(kernel.bpffs, DNS)
    with waiting(kernel, responders[0]) as answer:
        removing = threading.Thread(target=pins.remove, args=(5.0,))
        removing.start()
        while (pins.current / "sendmsg4").exists():
            time.sleep(0.01)
        assert answer() == (responders[0].name, ADDRESS)
        removing.join()
    assert not pins.root.exists()
    wait_until(lambda: not any(programs(kernel).values()), "all detached", 5)


def test_who_asks_all_the_time_loses_nothing_over_restarts(
    kernel: Kernel, responders: list[Responder]
) -> None:
    """The program is swapped in one step at each hook."""
    with open_dns(kernel) as backend:
        backend.apply(table(responders))
    restarting = threading.Event()
    reading, writing = os.pipe()

    def ask() -> tuple[int, set[object]]:
        asked = 0
        seen: set[object] = set()
        os.set_blocking(reading, False)
        while True:
            seen.add(unconnected(IPV4, *ADDRESS)[1])
            asked += 1
            try:
                os.read(reading, 1)
            except BlockingIOError:
                continue
            return asked, seen

    results: list[tuple[int, set[object]]] = []
    thread = threading.Thread(target=lambda: results.append(kernel.call(ask)))
    thread.start()
    for _ in range(3):
        restarting.wait(0.1)
        open_dns(kernel).close()
    os.write(writing, b".")
    thread.join()
    for descriptor in (reading, writing):
        os.close(descriptor)
    ((asked, seen),) = results
    assert asked > 50
    assert seen == {ADDRESS}


def test_fault_144_a_kernel_that_cannot_is_told_and_nothing_else_is_touched(
    kernel: Kernel, servers: list[Server]
) -> None:
    """One line, whichever hook or kind of table is missing; the proxies go on."""
    missing_hook = replace(DNS, hooks={**DNS.hooks, "getpeername4": 9999})
    asked = replace(DNS.tables["asked"], kind=999)
    missing_kind = replace(DNS, tables={**DNS.tables, "asked": asked})
    with kernel.open() as backend:
        backend.apply(connect_table(servers[:1]))
        for program in (missing_hook, missing_kind):
            with pytest.raises(ConsulEbpfError) as refused:
                install_as(kernel, program)
            said = str(refused.value)
            print(said)
            assert "\n" not in said
            assert "5.8" in said
            assert set(programs(kernel).values()) == {0, 1}
            assert kernel.call(connect) == endpoint(servers[0])
        assert backend.mend() == ()
        # Whatever was refused can be tried again.
        open_dns(kernel).detach()


def test_fault_145_what_is_damaged_of_dns_is_mended_alone(
    kernel: Kernel, servers: list[Server], responders: list[Responder]
) -> None:
    """Links, pins and the whole directory, with the other program's left alone."""
    with kernel.open() as other, open_dns(kernel) as backend:
        other.apply(connect_table(servers[:1]))
        backend.apply(table(responders))
        theirs = Pins(kernel.bpffs).links()
        pins = Pins(kernel.bpffs, DNS)
        (pins.current / "recvmsg4").unlink()
        (pins.current / "asked").unlink()
        assert len(backend.mend()) == 2
        shutil.rmtree(pins.root)
        mended = backend.mend()
        assert len(mended) == 1 + len(DNS.tables) + len(DNS.hooks)
        assert backend.mend() == other.mend() == ()
        assert kernel.call(partial(unconnected, IPV4, *ADDRESS))[1] == ADDRESS
        assert Pins(kernel.bpffs).links() == theirs
        backend.detach()


def test_fault_145_pins_that_are_no_tables_of_dns_are_put_aside(
    kernel: Kernel, responders: list[Responder]
) -> None:
    """A start makes them anew."""
    with open_dns(kernel) as backend:
        backend.apply(table(responders))
    pins = Pins(kernel.bpffs, DNS)
    (pins.current / "asked").unlink()
    (pins.current / "servers").rename(pins.current / "asked")
    with open_dns(kernel) as backend:
        backend.apply(table(responders))
        assert kernel.call(partial(unconnected, IPV4, *ADDRESS))[1] == ADDRESS
        assert set(programs(kernel).values()) == {1}
        backend.detach()


def run(kernel: Kernel, *, kill_at: int) -> tuple[int, list[str]]:
    """Run the scenario, killed at a step; return its exit code and its steps."""
    ended = subprocess.run(
        [
            *(sys.executable, "-m", "tests.lab.killer", str(kill_at)),
            *("tests.kernel.dns_scenario", str(kernel.cgroup), str(kernel.bpffs)),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=ROOT,
    )
    assert "Traceback" not in ended.stderr, ended.stderr
    return ended.returncode, re.findall(r"^step \d+: (.+)$", ended.stderr, re.MULTILINE)


def test_fault_146_killed_at_every_step_of_a_start_of_dns(
    kernel: Kernel, responders: list[Responder]
) -> None:
    """Queries are answered from the VIP, or refused on this host; the next start is
    as if nothing had been."""

    def outcome() -> object:
        try:
            return kernel.call(partial(unconnected, IPV4, *ADDRESS))[1]
        except (PermissionError, TimeoutError) as error:
            return type(error)

    pins = Pins(kernel.bpffs, DNS)
    code, first = run(kernel, kill_at=0)
    assert code == 0
    code, again = run(kernel, kill_at=0)
    assert code == 0
    assert len(again) < len(first)
    for steps, fresh in ((first, True), (again, False)):
        for number in sample(range(1, len(steps) + 1), 1 + len(steps) // 12):
            if fresh:
                pins.remove()
            code, _ = run(kernel, kill_at=number)
            assert code == -signal.SIGKILL, steps[number - 1]
            if not fresh:
                assert outcome() == ADDRESS, steps[number - 1]
            code, _ = run(kernel, kill_at=0)
            assert code == 0
            assert outcome() == ADDRESS
            assert set(programs(kernel).values()) == {1}
            assert [path.name for path in pins.root.iterdir()] == [pins.current.name]
            names = {path.name for path in pins.current.iterdir()}
            assert names == {*DNS.tables, *DNS.hooks, "compiled"}
    pins.remove()
