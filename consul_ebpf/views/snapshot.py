"""One snapshot of a host, read from the pinned tables: right with no controller.

`status`, and whatever else shows the state, reads this one type.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from consul_ebpf.controller.problems import Problems
from consul_ebpf.kernel import host
from consul_ebpf.kernel.pins import Pins
from consul_ebpf.kernel.sockets import established_cookies
from consul_ebpf.kernel.tables import close_tables, read_tables
from consul_ebpf.model.errors import KernelError
from consul_ebpf.model.values import (
    Binding,
    KernelState,
    Preference,
    SlottedServer,
    Vip,
)


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """One row of the server table."""

    address: str
    port: int
    slot: int
    state: str
    connects: int
    """Connects sent here since the row was filled."""
    active: int
    """Connections that went through a VIP and are established now."""
    failures: int
    """Connects after which the proxy soon tried again."""


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
    """Where its newest connect went; empty before the first."""
    active: bool
    """Whether one of its newest connections is established now."""
    bound: list[str]
    """To what it is bound: `netns`, `cgroup`; from elsewhere it leads nowhere."""
    failures: int = 0
    """Connects after which it soon tried again."""
    admin: str = ""
    """`address:port` of its Envoy's admin interface, in its network namespace; empty:
    not known."""


@dataclass(frozen=True, slots=True)
class Program:
    """An attached program."""

    hook: str
    id: int


@dataclass(frozen=True, slots=True)
class KernelStatus:
    """What is attached where, and what fits."""

    attached: bool
    """Both hooks are attached to a cgroup that exists."""
    cgroup: str
    programs: list[Program]
    capacity: int


@dataclass(frozen=True, slots=True)
class ControllerStatus:
    """The process that keeps the tables true; without it the kernel goes on."""

    running: bool
    pid: int | None
    events: dict[str, int]
    """What the newest one met since its start, by the events' names."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The whole host."""

    servers: list[ServerStatus]
    proxies: list[ProxyStatus]
    kernel: KernelStatus
    controller: ControllerStatus
    problems: dict[str, list[str]] = field(default_factory=dict)
    """By proxy id: why it is not, or not wholly, what it should be, a line each."""
    missing: list[str] = field(default_factory=list)
    """What the controller lacks to serve all, a line each."""

    def to_json(self) -> dict[str, Any]:
        """Return it as the data of `status --json`."""
        return asdict(self)


NO_PROBLEMS = Problems()

Names = Mapping[Vip, tuple[str, Vip]]
"""Proxy ids, and VIPs as the bootstraps hold them: the kernel knows neither."""

Admins = Mapping[str, str]
"""Admin addresses by proxy id."""

NO_ADMINS: Admins = {}


def take(
    bpffs: Path,
    names: Names,
    events: Mapping[str, int] | None = None,
    established: Callable[[], frozenset[int]] = established_cookies,
    *,
    admins: Admins = NO_ADMINS,
    problems: Problems = NO_PROBLEMS,
) -> Snapshot:
    """Read the pinned tables and links.

    Args:
        bpffs: where the BPF file system is mounted.
        names: of what proxies are remembered.
        events: as the controller counted them.
        established: the cookies of established connections; a process that may not
            enter other namespaces asks one that may.
        admins: of what proxies are remembered.
        problems: as the controller wrote them down.

    Raises:
        NotRunningError: nothing is pinned.
        PrivilegeError: the pins may not be read.
    """
    pins = Pins(bpffs)
    tables = pins.open_tables()
    try:
        state = read_tables(tables)
        capacity = tables["vips"].info.max_entries
    except OSError as error:
        raise KernelError(f"the pinned tables cannot be read: {error}") from error
    finally:
        close_tables(tables)
    links = pins.links()
    cgroups = {link.cgroup_id for link in links.values()}
    holder = pins.holder()
    return describe(
        state,
        names,
        established(),
        KernelStatus(
            attached=len(links) == 2 and 0 not in cgroups,
            cgroup=str(host.cgroup_path(max(cgroups, default=0)) or ""),
            programs=[Program(name, link.program_id) for name, link in links.items()],
            capacity=capacity,
        ),
        ControllerStatus(holder is not None, holder, dict(events or {})),
        admins=admins,
        problems=problems,
    )


def describe(
    state: KernelState,
    names: Names,
    cookies: frozenset[int],
    kernel: KernelStatus,
    controller: ControllerStatus,
    *,
    admins: Admins = NO_ADMINS,
    problems: Problems = NO_PROBLEMS,
) -> Snapshot:
    """Put a snapshot together; pure."""
    rows = state.table.servers
    sockets = {
        (cookie, slot)
        for counters in state.vips.values()
        for cookie, slot in counters.sockets
        if cookie in cookies
    }
    active = Counter(slot for _, slot in sockets)
    return Snapshot(
        servers=[
            ServerStatus(
                address=str(entry.server.address),
                port=entry.server.port,
                slot=slot,
                state=entry.state.value,
                connects=state.servers[slot].connects,
                active=active[slot],
                failures=state.servers[slot].failures,
            )
            for slot, entry in sorted(rows.items())
        ],
        proxies=sorted(
            (
                ProxyStatus(
                    id=names.get(vip, ("", vip))[0],
                    vip=names.get(vip, ("", vip))[1].literal,
                    preference=_endpoints(preference, rows),
                    connects=state.vips[vip].connects,
                    failures=state.vips[vip].failures,
                    server="".join(_endpoints(_current(state, vip), rows)),
                    active=any(c in cookies for c, _ in state.vips[vip].sockets),
                    bound=_bound(state.table.bindings.get(vip)),
                    admin=admins.get(names.get(vip, ("", vip))[0], ""),
                )
                for vip, preference in state.table.vips.items()
            ),
            key=lambda proxy: (proxy.id, proxy.vip),
        ),
        kernel=kernel,
        controller=controller,
        problems=problems.proxies,
        missing=problems.missing,
    )


def _bound(binding: Binding | None) -> list[str]:
    return [
        name
        for name in ("netns", "cgroup")
        if binding is not None and getattr(binding, name)
    ]


def _current(state: KernelState, vip: Vip) -> Preference:
    current = state.vips[vip].current
    return () if current is None else (current,)


def _endpoints(slots: Preference, rows: Mapping[int, SlottedServer]) -> list[str]:
    return [rows[slot].server.endpoint for slot in slots if slot in rows]
