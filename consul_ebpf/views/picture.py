"""What a live view shows of a host: made of one snapshot after the other. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from consul_ebpf.views.happenings import Look
from consul_ebpf.views.rates import Rates
from consul_ebpf.views.snapshot import Snapshot
from consul_ebpf.views.status import Status, status_of
from consul_ebpf.views.timeline import Timeline, catch_up, follow
from consul_ebpf.views.verdict import judged


@dataclass(frozen=True, slots=True)
class Picture:
    """A host at one moment, and how it changes."""

    at: float
    """Unix time."""
    status: Status
    rates: Mapping[str, float] = field(default_factory=dict)
    """Connects a second, by the server's `address:port`; empty: not known yet."""

    @property
    def connected(self) -> int:
        """How many proxies are connected to a server."""
        return sum(each.active for each in self.status.proxies)

    def share(self, active: int) -> float:
        """Return which part of all open connections these are."""
        total = sum(each.active for each in self.status.servers)
        return active / total if total else 0.0


class Pictures:
    """Makes a picture of each snapshot, with what it remembers of those before.

    While the controller runs, its own timeline is shown; else what the snapshots tell.
    """

    def __init__(self) -> None:
        self._timeline = Timeline()
        self._before: Look | None = None
        self._rates = Rates()

    def __repr__(self) -> str:
        return f"<Pictures {len(self._timeline.happenings)} happenings>"

    def add(self, snapshot: Snapshot) -> Picture:
        """Return the picture of a snapshot that is newer than those before."""
        written = snapshot.remembered.timeline
        now = _look(snapshot)
        before = self._before
        if before is None:
            before, self._timeline = now, catch_up(written or self._timeline, now)
        if snapshot.pid is not None and written is not None:
            self._timeline = written
        else:
            self._timeline = follow(self._timeline, before, now)
        self._before = now
        remembered = replace(snapshot.remembered, timeline=self._timeline)
        status = judged(status_of(replace(snapshot, remembered=remembered)))
        rates = self._rates.add(snapshot.monotonic, status.servers)
        return Picture(snapshot.at, status, rates)


def _look(snapshot: Snapshot) -> Look:
    return Look(
        snapshot.at,
        snapshot.grpc.tables,
        {vip: name for vip, (name, _) in snapshot.remembered.names.items()},
        snapshot.events,
        snapshot.pid,
        snapshot.grpc.attached,
        snapshot.at - snapshot.monotonic,
    )
