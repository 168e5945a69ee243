"""Catalog answers, probe results, faults and restarts in any order, against the five
properties. Time is a number, the kernel is a dict that is written one row at a time and
may be left half written.
"""

import logging
import re
import shutil
import tempfile
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest
from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from consul_ebpf import (
    Applied,
    KernelError,
    KernelState,
    PooledServer,
    Proxy,
    Server,
    ServerState,
    SlottedServer,
    Table,
    Vip,
)
from consul_ebpf.controller.inputs import Inputs
from consul_ebpf.kernel.diff import Changes, diff
from consul_ebpf.model.values import ServerCounters, VipCounters
from consul_ebpf.servers import members, membership
from consul_ebpf.servers.known import KnownServers
from consul_ebpf.servers.sanity import sane
from tests.hunt.conftest import HUNT
from tests.lab.rounds import Rounds

NETWORK = IPv4Network("127.64.0.0/10")
RULES = members.Rules()
READY = ServerState.READY

GOOD = [replace(Server.at(f"10.0.0.{n}", 8502), id=f"node-{n}") for n in range(1, 7)]
MOVED = [replace(GOOD[0], ipv4=IPv4Address("10.0.1.1")), replace(GOOD[1], port=8503)]
REBUILT = [replace(GOOD[2], id="node-3-again")]
ABSURD = [
    Server.at("0.0.0.0", 8502),
    Server.at("127.64.0.7", 8502),
    Server.at("224.0.0.1", 8502),
    replace(GOOD[3], id="twin"),
]
HONEST = {(s.ipv4, s.port) for s in (*GOOD, *MOVED, *REBUILT)}
PROXIES = [Proxy(f"web-{n}", "host1", owner="test") for n in range(6)]
ASKS = Proxy("asks", "host1", vip=IPv4Address("127.64.0.3"), owner="test")
PROXIES.append(ASKS)

LISTS = st.lists(st.sampled_from([*GOOD, *MOVED, *REBUILT, *ABSURD]), max_size=8)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Thousands of lines of what is meant to go wrong."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


class CrashError(Exception):
    """kill -9 in the middle of the writes."""


class Kernel:
    """The two tables as the program sees them: a row without a state is EMPTY."""

    def __init__(self) -> None:
        self.rows: dict[int, tuple[Server, ServerState | None]] = {}
        self.vips: dict[Vip, tuple[int, ...]] = {}
        self.crash_at: int | None = None
        self.refuse = False

    @property
    def capacity(self) -> int:
        return 6

    def read(self) -> KernelState:
        rows = {
            slot: SlottedServer(slot, replace(server, id=f"slot {slot}"), state)
            for slot, (server, state) in self.rows.items()
            if state is not None
        }
        return KernelState(
            Table(rows, dict(self.vips)),
            dict.fromkeys(rows, ServerCounters()),
            dict.fromkeys(self.vips, VipCounters()),
        )

    def led_to(self) -> dict[Vip, tuple[object, int] | None]:
        """Return where each VIP's next first choice leads: the program's own rule."""
        found: dict[Vip, tuple[object, int] | None] = {}
        for vip, preference in self.vips.items():
            ready = [
                self.rows[slot][0]
                for slot in preference
                if slot in self.rows and self.rows[slot][1] is READY
            ]
            found[vip] = (ready[0].ipv4, ready[0].port) if ready else None
        return found

    def apply(self, table: Table, among: Collection[Vip] | None = None) -> Applied:
        """Write row by row; between any two writes the properties hold."""
        if self.refuse:
            self.refuse = False
            raise KernelError("not now")
        changes = diff(self.read().table, table, among)
        before, visible = self.led_to(), []
        for number, _ in enumerate(self._writes(changes)):
            visible.append(self.led_to())
            if number == self.crash_at:
                self.crash_at = None
                raise CrashError
        after = self.led_to()
        for moment in visible:
            for vip, where in moment.items():
                both = vip in before and vip in after
                if both and before[vip] and after[vip]:
                    assert where is not None, f"{vip} led nowhere for a moment"
        return changes.applied

    def _writes(self, changes: Changes) -> Iterator[None]:
        for entry in changes.servers_fill:
            self.rows[entry.slot] = (entry.server, None)
            yield
            self.rows[entry.slot] = (entry.server, entry.state)
            yield
        for entry in changes.servers_ready:
            self.rows[entry.slot] = (entry.server, entry.state)
            yield
        for vip in changes.vips_remove:
            del self.vips[vip]
            yield
        for vip, preference in changes.vips_put.items():
            self.vips[vip] = preference
            yield
        for entry in changes.servers_unready:
            self.rows[entry.slot] = (entry.server, entry.state)
            yield
        for slot in changes.servers_empty:
            del self.rows[slot]
            yield

    def stay(self, vips: Iterable[Vip]) -> None:
        pass

    def mend(self) -> tuple[str, ...]:
        return ()

    def close(self) -> None:
        pass


class Host(RuleBasedStateMachine):
    """One host's controller, what it is told, and what it leaves in the kernel."""

    @initialize()
    def begin(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="consul-ebpf-hunt-"))
        self.kernel = Kernel()
        self.now = 0.0
        self.listed: list[Server] = []
        self.proxies: tuple[Proxy, ...] = ()
        self.verdicts: dict[Server, list[bool]] = {}
        self.had_ready = False
        self.given: dict[str, str] = {}
        self.start()

    def start(self) -> None:
        self.known = KnownServers(self.directory, "cluster", NETWORK)
        table = self.kernel.read().table
        self.members = members.of_known(self.known.resume(table))
        self.verdicts.clear()
        self.servers: tuple[PooledServer, ...] = ()
        self.by_hand = Rounds(self.directory, self.kernel, known=self.known)
        self.by_hand.resume()
        self.settle()

    def settle(self) -> None:
        """Do as the pool and the runner do after each change."""
        if not self.servers and members.untested(self.members):
            return
        self.servers = membership.pooled(self.members, self.now, RULES) or self.servers
        if not self.servers:
            return
        while True:
            try:
                self.by_hand.follow_states(self.servers)  # they go first
                self.check_kernel()
                self.by_hand.converge(Inputs(self.servers, self.proxies))
            except KernelError:
                continue
            except CrashError:
                note("crashed between two writes")
                self.check_kernel()
                self.start()
                return
            self.check_files()
            return

    @rule(servers=LISTS)
    def list_comes(self, servers: list[Server]) -> None:
        kept, _ = sane(servers, NETWORK)
        if kept:
            self.listed = list(kept)
        self.members = membership.with_list(self.members, kept, self.now, RULES)
        self.settle()

    @rule(data=st.data(), alive=st.booleans())
    def one_verdict(self, data: st.DataObject, alive: bool) -> None:
        if self.members:
            names = sorted(self.members)
            self.verdict(data.draw(st.sampled_from(names)), alive=alive)
            self.settle()

    @rule(data=st.data(), rounds=st.integers(1, 4))
    def rounds_of_probes(self, data: st.DataObject, rounds: int) -> None:
        names = sorted(self.members)
        alive = data.draw(st.sets(st.sampled_from(names))) if names else set()
        for _ in range(rounds):
            for name in names:
                if name in self.members:
                    self.verdict(name, alive=name in alive)
                    self.settle()

    @rule(rounds=st.integers(1, 5))
    def nothing_answers(self, rounds: int) -> None:
        """Property 1: if every probe fails at once, nothing changes."""
        self.rounds(alive=False)
        before = {slot: state for slot, (_, state) in self.kernel.rows.items()}
        for _ in range(rounds):
            self.rounds(alive=False)
        if before:
            assert before == {s: state for s, (_, state) in self.kernel.rows.items()}

    def rounds(self, *, alive: bool) -> None:
        for name in sorted(self.members):
            if name in self.members:
                self.verdict(name, alive=alive)
        self.settle()

    def verdict(self, name: str, *, alive: bool) -> None:
        server = self.members[name].server
        self.verdicts.setdefault(self.key(server), []).append(alive)
        self.members = membership.with_verdict(
            self.members, server, alive, self.now, RULES
        )

    @staticmethod
    def key(server: Server) -> Server:
        return Server("", server.port, server.ipv4, server.ipv6)

    @rule(seconds=st.sampled_from([0.5, 5.0, 40.0, 400.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.settle()

    @rule(proxies=st.lists(st.sampled_from(PROXIES), unique=True))
    def proxies_change(self, proxies: list[Proxy]) -> None:
        self.proxies = tuple(proxies)
        self.settle()

    @rule()
    def kernel_refuses(self) -> None:
        self.kernel.refuse = True

    @rule(at=st.integers(0, 12))
    def killed_soon(self, at: int) -> None:
        self.kernel.crash_at = at

    @rule()
    def restart(self) -> None:
        self.kernel.refuse = False
        self.start()

    @precondition(lambda self: bool(self.listed))
    @rule()
    def calm(self) -> None:
        """It converges: to the newest list, all of it ready, every proxy served."""
        self.kernel.refuse, self.kernel.crash_at = False, None
        self.members = membership.with_list(self.members, self.listed, self.now, RULES)
        for _ in range(4):
            self.now += 200
            self.rounds(alive=True)
        ready = {
            (server.ipv4, server.port)
            for server, state in self.kernel.rows.values()
            if state is READY
        }
        assert ready == {(s.ipv4, s.port) for s in self.listed}
        # Whose VIP is another's already gets none.
        wanted = len(self.proxies) - ("asks" not in self.given and ASKS in self.proxies)
        assert len(self.kernel.vips) == min(wanted, self.kernel.capacity)
        assert all(self.kernel.led_to().values())

    @invariant()
    def check_kernel(self) -> None:
        """What the program may see at any time, written in full or in half."""
        ready = [s for s, state in self.kernel.rows.values() if state is READY]
        assert bool(ready) >= self.had_ready, "the table was emptied of ready servers"
        self.had_ready = bool(ready)
        for server, _ in self.kernel.rows.values():
            assert (server.ipv4, server.port) in HONEST, "a stranger is in the table"
        for preference in self.kernel.vips.values():
            assert len(set(preference)) == len(preference)

    @invariant()
    def the_dead_are_proven(self) -> None:
        """Property 2: only they lose connections; by the verdicts as given."""
        newest = {key: v for key, v in self.verdicts.items() if v}
        members = {self.key(member.server) for member in self.members.values()}
        answers = any(v[-1] for key, v in newest.items() if key in members)
        for pooled in self.servers:
            if pooled.dead:
                history = newest[self.key(pooled.server)]
                assert history[-RULES.fall :] == [False] * RULES.fall
                assert answers

    def check_files(self) -> None:
        """A bootstrap is there for each VIP in the kernel, and no other."""
        vips = {
            path.parent.name: _vip_in(path)
            for path in self.directory.glob("*/bootstrap.json")
        }
        assert set(vips.values()) == {str(v.address) for v in self.kernel.vips}
        for name in vips.keys() & self.given.keys():
            assert vips[name] == self.given[name], f"{name} lost its VIP"
        self.given = vips

    def teardown(self) -> None:
        if hasattr(self, "directory"):
            shutil.rmtree(self.directory)


def _vip_in(bootstrap: Path) -> str:
    (vip,) = set(re.findall(r"127\.64\.\d+\.\d+", bootstrap.read_text()))
    return str(vip)


TestHost = Host.TestCase
TestHost.settings = HUNT
