"""What a snapshot tells of each proxy: for /v1/proxies, and for `wait`."""

import enum
from dataclasses import dataclass
from pathlib import Path

from consul_ebpf.controller.outcomes import Outcome, Refused, refusal
from consul_ebpf.model.values import Vip
from consul_ebpf.views.snapshot import Snapshot


class Condition(enum.StrEnum):
    """What can be waited for; each is named like a field of `ProxyView`."""

    PROGRAMMED = "programmed"
    BOOTSTRAP = "bootstrap"
    CONNECTED = "connected"


@dataclass(frozen=True, slots=True)
class ProxyView:
    """One proxy, as the endpoint shows it."""

    id: str
    """Consul's id of it; its key while it has no id."""
    vip: str
    """`address:port` in its bootstrap; empty: it has none."""
    programmed: bool
    """Whether its VIP is in the kernel's table."""
    bootstrap: str
    """Path of its bootstrap; empty: there is none."""
    ready: bool
    """Whether it is programmed and has a bootstrap: its Envoy can start."""
    connected: bool
    """Whether one of its newest connections to a server is established now."""
    server: str
    """`address:port` that its newest connect went to; empty: there was none."""
    refused: str
    """Why it is not served, or not yet."""
    owner: str
    """Where it was configured."""

    def holds(self, condition: Condition) -> bool:
        """Whether a condition holds."""
        return bool(getattr(self, condition))

    def missing(self, condition: Condition) -> str:
        """Return in words why a condition does not hold."""
        if self.refused:
            return self.refused
        if not self.programmed:
            return "the kernel has no VIP of it yet"
        if condition is Condition.CONNECTED and self.bootstrap:
            return "its Envoy has no connection to a Consul server"
        return "it has no bootstrap yet"


def left_behind(snapshot: Snapshot, name: str) -> ProxyView | None:
    """Return what an ended controller left of a proxy; None: nothing. Pure.

    Args:
        snapshot: taken outside of a controller.
        name: the proxy's.
    """
    for vip, (named, literal) in snapshot.remembered.names.items():
        if named == name and vip in snapshot.grpc.tables.vips:
            return _view(snapshot, name, literal)
    return None


def proxy_view(
    snapshot: Snapshot, key: str, outcome: Outcome, bootstrap: Path | None
) -> ProxyView:
    """Return one proxy. Pure.

    Args:
        snapshot: taken within the controller.
        key: the proxy's.
        outcome: what became of it.
        bootstrap: path of its bootstrap; None: there is none.
    """
    if isinstance(outcome, Refused):
        return _view(snapshot, outcome.name or key, None, outcome)
    placed = outcome.placed
    return _view(snapshot, placed.proxy.name, placed.vip, outcome, bootstrap)


def _view(
    snapshot: Snapshot,
    name: str,
    vip: Vip | None,
    outcome: Outcome | None = None,
    bootstrap: Path | None = None,
) -> ProxyView:
    tables = snapshot.grpc.tables
    row = tables.vips.get(vip) if vip else None
    current = None if row is None or row.current is None else row.current
    server = None if current is None else tables.table.servers.get(current)
    return ProxyView(
        id=name,
        vip=str(vip or ""),
        programmed=row is not None,
        bootstrap=str(bootstrap or ""),
        ready=bootstrap is not None and row is not None,
        connected=row is not None and snapshot.is_connected(row),
        server=server.server.endpoint if server else "",
        refused=refusal(outcome) if outcome else "",
        owner=outcome.owner if outcome else "",
    )
