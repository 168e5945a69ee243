"""What `status` shows of a snapshot; `status --json` and /v1/status are its JSON."""

from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from consul_ebpf.controller.problems import About
from consul_ebpf.model.values import (
    DNS_NAME,
    GRPC,
    Binding,
    Preference,
    ServerState,
    Vip,
)
from consul_ebpf.views.ailments import Verdict
from consul_ebpf.views.deaths import LostServer, lost_servers
from consul_ebpf.views.dns import DnsServerStatus, DnsStatus, dns_of
from consul_ebpf.views.happenings import Happening
from consul_ebpf.views.pods import NodeStatus, node_of
from consul_ebpf.views.servers import ServerStatus, servers_of
from consul_ebpf.views.snapshot import Snapshot
from consul_ebpf.views.timeline import Stay

READY = ServerState.READY.value
SILENT = "silent"
"""What people are shown in its place where no server answers."""


@dataclass(frozen=True, slots=True)
class ProxyStatus:
    """One VIP. `id` is empty if no name is remembered for it.

    `vip` is the address in the proxy's bootstrap, `preference` and `server` are
    `address:port`.
    """

    id: str
    vip: str
    preference: list[str]
    connects: int
    server: str
    """Where its newest connect went; empty: there was none."""
    active: bool
    """Whether one of its newest connections is established now."""
    bound: list[str]
    """What it is bound to: `netns`, `cgroup`. Connects from elsewhere are refused."""
    failures: int = 0
    """Connects after which it soon tried again."""
    admin: str = ""
    """`address:port` of its Envoy's admin interface in its network namespace; empty:
    unknown."""
    since: float = 0.0
    """Unix time of its newest connect, to a second; 0: not known."""
    moves: int = 0
    """How often it was seen to go to another server."""


@dataclass(frozen=True, slots=True)
class Program:
    """An attached program."""

    hook: str
    id: int


@dataclass(frozen=True, slots=True)
class KernelStatus:
    """What is attached where, and what fits."""

    attached: bool
    """Whether all hooks are attached to a cgroup that exists."""
    cgroup: str
    programs: list[Program]
    capacity: int
    """VIPs that fit."""


@dataclass(frozen=True, slots=True)
class ControllerStatus:
    """The process that keeps the tables up to date."""

    running: bool
    pid: int | None
    events: dict[str, int]
    """What the newest one met since its start, by the events' names."""


@dataclass(frozen=True, slots=True)
class Status:
    """The whole host."""

    servers: list[ServerStatus]
    """By slot."""
    proxies: list[ProxyStatus]
    """By id."""
    kernel: KernelStatus
    controller: ControllerStatus
    problems: dict[str, list[str]] = field(default_factory=dict)
    """By proxy id: why it is not, or not wholly, what it should be, a line each."""
    missing: list[str] = field(default_factory=list)
    """What the controller lacks to serve all, a line each."""
    about: dict[str, About] = field(default_factory=dict)
    """By the line, of both: since when, what it means and what to do."""
    silent: dict[str, float] = field(default_factory=dict)
    """Services (`grpc`, `dns`) that no server answers on though it did before, and the
    Unix time since which. The servers keep their states then."""
    dns: DnsStatus | None = None
    """None: DNS is off."""
    kubernetes: NodeStatus | None = None
    """None: `[kubernetes]` is off."""
    timeline: list[Happening] = field(default_factory=list)
    """What happened last, the oldest first."""
    lost: list[LostServer] = field(default_factory=list)
    """Servers that died, and that Consul lists no more, so `servers` has them not."""
    verdict: Verdict = field(default_factory=Verdict)
    """What to make of it all; `judged` fills it."""

    @property
    def unconnected(self) -> set[str]:
        """The proxies that are on no server now; by the VIP where no name is known."""
        return {each.id or each.vip for each in self.proxies if not each.active}

    @property
    def shown_servers(self) -> list[ServerStatus]:
        """The servers as people see them: `silent` is no state, but what matters."""
        if GRPC.name not in self.silent:
            return self.servers
        since = self.silent[GRPC.name]
        return [
            replace(each, state=SILENT, since=since) if each.state == READY else each
            for each in self.servers
        ]

    @property
    def shown_dns_servers(self) -> list[DnsServerStatus]:
        """The servers' DNS, likewise; none where DNS is off."""
        servers = self.dns.servers if self.dns else []
        if DNS_NAME not in self.silent:
            return servers
        return [
            replace(each, state=SILENT) if each.state == READY else each
            for each in servers
        ]

    def to_json(self) -> dict[str, Any]:
        """Return the data of `status --json`: dicts, lists, texts and numbers."""
        data: dict[str, Any] = msgspec.to_builtins(self)
        return data


def status_of(snapshot: Snapshot) -> Status:
    """Return what is shown of a snapshot. Pure."""
    grpc = snapshot.grpc
    programs = [Program(hook, number) for hook, number in grpc.hooks.items()]
    return Status(
        servers=servers_of(grpc, snapshot.established, snapshot.timeline.states),
        proxies=_proxies(snapshot),
        kernel=KernelStatus(grpc.attached, grpc.cgroup, programs, grpc.tables.capacity),
        controller=ControllerStatus(
            snapshot.pid is not None, snapshot.pid, dict(snapshot.events)
        ),
        problems=snapshot.remembered.problems.proxies,
        missing=snapshot.remembered.problems.missing,
        about=snapshot.remembered.problems.about,
        silent=dict(snapshot.remembered.problems.silent) if snapshot.pid else {},
        dns=dns_of(snapshot.dns) if snapshot.dns else None,
        kubernetes=node_of(snapshot),
        timeline=snapshot.timeline.happenings,
        lost=lost_servers(snapshot.timeline.happenings, snapshot.at),
    )


def _proxies(snapshot: Snapshot) -> list[ProxyStatus]:
    tables = snapshot.grpc.tables
    names, admins = snapshot.remembered.names, snapshot.remembered.admins
    stays = snapshot.timeline.stays
    booted = snapshot.at - snapshot.monotonic
    endpoints = {
        slot: row.server.endpoint for slot, row in tables.table.servers.items()
    }

    def shown(vip: Vip, preference: Preference) -> ProxyStatus:
        row = tables.vips[vip]
        name, literal = names.get(vip, ("", vip))
        stay = stays.get(name or vip.literal, Stay(0.0))
        return ProxyStatus(
            id=name,
            vip=literal.literal,
            preference=[endpoints[slot] for slot in preference if slot in endpoints],
            connects=row.connects,
            failures=row.failures,
            server="" if row.current is None else endpoints.get(row.current, ""),
            active=snapshot.is_connected(row),
            bound=_bound(tables.table.bindings.get(vip)),
            admin=admins.get(name, ""),
            since=float(round(booted + row.newest if row.newest else stay.since)),
            moves=stay.moves,
        )

    return sorted(
        (shown(*each) for each in tables.table.vips.items()),
        key=lambda proxy: (proxy.id, proxy.vip),
    )


def _bound(binding: Binding | None) -> list[str]:
    to = {"netns": binding.netns, "cgroup": binding.cgroup} if binding else {}
    return [name for name, number in to.items() if number]
