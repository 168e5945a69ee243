"""What a resolver sees of servers that die, hang and come back: nothing.

Clients of every kind ask all the time, with three tries of two seconds, while servers
are killed, stopped and brought back at random: `CONSUL_EBPF_SEED` does the same again,
`nox -s long` goes on for minutes.
"""

import random
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.dns.conftest import register
from tests.lab.dns_host import DnsHost
from tests.lab.long import SEED, seconds
from tests.lab.processes import wait_until
from tests.lab.versions import next_version

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.consul,
    pytest.mark.resolvers,
    pytest.mark.timeout(1200),
]

KINDS = ["connected", "unconnected", "kept", "recvmsg", "tcp", "glibc"]
NAME, EXPECTED = "web.service.consul", "NOERROR 10.77.0.1"

Reports = list[dict[str, Any]]
Window = tuple[float, float]
"""Two clock readings."""


@pytest.fixture(scope="module")
def own(consul_bin: Path) -> Iterator[DnsHost]:
    """A host whose servers and controller may be killed."""
    with DnsHost(consul_bin) as host:
        register(host, "web", "web", "10.77.0.1")
        yield host


def show(reports: Reports) -> None:
    for each in reports:
        numbers = {name: each[name] for name in ("asked", "answered", "tries")}
        print(each["kind"], numbers, f"longest {each['longest']:.2f} s")
        for what in ("unanswered", "wrong", "strangers"):
            for line in each[what][:5]:
                print(f"  {what}: {line}")


def must_be_good(reports: Reports, behind: Sequence[Window] = ()) -> None:
    """Nothing unanswered after three tries, nothing wrong, nobody but the VIP.

    What a server says is not wrong here while it is behind the others.
    """
    show(reports)
    for each in reports:
        assert each["asked"] > 0
        wrong = [line for line in each["wrong"] if not _excused(line, behind)]
        assert [] == [*each["unanswered"], *wrong, *each["strangers"]], each["kind"]


def _excused(wrong: str, behind: Sequence[Window]) -> bool:
    at = float(wrong.split(maxsplit=1)[0])
    nothing = "NXDOMAIN" in wrong or "not known" in wrong  # in glibc's words
    return nothing and any(begun <= at <= end for begun, end in behind)


def trouble(host: DnsHost, rng: random.Random, duration: float) -> list[Window]:
    """Kill or stop one server after another, and bring each back.

    Returns when a server answered that was not up to date, as far as it said itself.
    """
    behind = []
    deadline = time.monotonic() + duration
    while time.monotonic() < deadline:
        victim, lasts = rng.randrange(3), rng.uniform(0.5, 9)
        kills = rng.random() < 0.5
        begun = time.time()
        if kills:
            host.cluster.kill(victim)
        else:
            host.cluster.freeze(victim)
        time.sleep(lasts)
        again = time.time()
        if kills:
            host.cluster.restart(victim)
            wait_until(partial(_is_up_to_date, host, victim), "the catalog", 30)
            behind.append((again, time.time() + 0.1))
        else:
            host.cluster.thaw(victim)
        how = "killed" if kills else "stopped"
        print(f"server {victim} {how} {begun:.2f} to {again:.2f}, {time.time():.2f}")
        time.sleep(rng.uniform(0, 1))
    host.cluster.wait_ready()
    return behind


def _is_up_to_date(host: DnsHost, server: int) -> bool:
    """Ask a server itself; three times, for what has no leader asks another."""
    said = [host.ask_server(server, NAME) for _ in range(3)]
    return said == [EXPECTED] * 3


@pytest.mark.slow
def test_fault_158_glibc_keeps_all_tries_on_one_socket(own: DnsHost) -> None:
    """With the VIP once in resolv.conf: it is cut in time for the third try."""
    with own.asking(["glibc-once"] * 4, 10, NAME, EXPECTED) as reports:
        for server in range(2):
            own.cluster.freeze(server)
            time.sleep(7)
            own.cluster.thaw(server)
            time.sleep(3)  # until it is used again
    must_be_good(reports)
    assert max(each["longest"] for each in reports) > 2, "it was never met"


@pytest.mark.slow
@pytest.mark.parametrize("controller", ["alive", "dead"])
def test_fault_154_servers_die_hang_and_come_back(
    own: DnsHost, controller: str
) -> None:
    """No query is unanswered after three tries, with the controller alive and dead.

    With the controller dead nobody keeps those out that come back with an old catalog.
    """
    print(f"CONSUL_EBPF_SEED={SEED}")
    if controller == "dead":
        own.controller.kill()
    try:
        with own.asking(KINDS, 20, NAME, EXPECTED) as reports:
            behind = trouble(
                own, random.Random(f"{SEED} {controller}"), seconds(25, 600)
            )
    finally:
        if controller == "dead":
            own.controller.start()
    must_be_good(reports, behind if controller == "dead" else ())


@pytest.mark.alone
def test_nothing_is_lost_at_2000_queries_a_second(own: DnsHost) -> None:
    """From five processes, while nothing fails: each is answered at its first try."""
    kinds = ["connected", "connected", "unconnected", "kept", "recvmsg"]
    begun = time.monotonic()
    with own.asking(kinds, 400, NAME, EXPECTED) as reports:
        time.sleep(seconds(15, 180))
        lasted = time.monotonic() - begun
    must_be_good(reports)
    asked = sum(each["asked"] for each in reports)
    print(f"{asked / lasted:.0f} a second")
    assert asked == sum(each["tries"] for each in reports)
    assert asked / lasted > 1000  # of a busy machine


def test_fault_156_the_controller_ends_and_starts(own: DnsHost) -> None:
    """Killed, stopped, started: each query is answered at its first try."""
    with own.asking(KINDS, 50, NAME, EXPECTED) as reports:
        own.controller.kill()
        time.sleep(1)
        own.controller.start()
        own.controller.terminate()
        time.sleep(1)
        own.controller.start()
        time.sleep(1)
    must_be_good(reports)
    assert all(each["asked"] == each["tries"] for each in reports)


def test_fault_156_an_upgrade_and_a_downgrade(own: DnsHost, tmp_path: Path) -> None:
    """Another version with other rows takes over, and this one again."""
    with own.asking(KINDS, 50, NAME, EXPECTED) as reports:
        own.controller.terminate()
        own.controller.start(env=next_version(tmp_path))
        time.sleep(1)
        own.controller.terminate()
        own.controller.start()
        time.sleep(1)
    must_be_good(reports)
    assert all(each["asked"] == each["tries"] for each in reports)


def test_fault_156_switching_it_off_and_on(own: DnsHost) -> None:
    """What is asked until it is off is answered; then nothing is, until it is on."""
    off = {**own.config, "dns": {"enabled": False}}
    kinds = [kind for kind in KINDS if kind != "glibc"]
    with own.asking(kinds, 50, NAME, EXPECTED) as reports:
        time.sleep(1)
        own.controller.terminate()
        own.controller.configure(off)
        own.controller.start()
    try:
        show(reports)
        for each in reports:
            assert ([], []) == (each["wrong"], each["strangers"])
            lost = [float(line.split()[0]) for line in each["unanswered"]]
            assert not [at for at in lost if at < each["last_answer"]]
            assert lost, "it was not off"
    finally:
        own.controller.terminate()
        own.controller.configure(own.config)
        own.controller.start()
    with own.asking(KINDS, 50, NAME, EXPECTED) as reports:
        time.sleep(1)
    must_be_good(reports)
