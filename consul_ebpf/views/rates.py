"""How many connects a second go to each server, from one look to the next."""

from collections import deque
from collections.abc import Iterable, Mapping

from consul_ebpf.model.values import host_port
from consul_ebpf.views.servers import ServerStatus

RATE_SECONDS = 10.0
"""Over which the connects of a second are an average."""

OLDEST_SECONDS = 60.0
"""A look before that tells nothing of now."""


class Rates:
    """Compares each look with those of the last seconds."""

    def __init__(self) -> None:
        self._counts: deque[tuple[float, dict[str, int]]] = deque()

    def __repr__(self) -> str:
        return f"<Rates of {len(self._counts)} looks>"

    def add(self, at: float, servers: Iterable[ServerStatus]) -> Mapping[str, float]:
        """Return the connects of a second, by `address:port`; empty: not known yet.

        Args:
            at: `time.monotonic()` of the look.
            servers: as they were then.
        """
        counts = {host_port(each.address, each.port): each.connects for each in servers}
        if not self._counts or at > self._counts[-1][0]:
            self._counts.append((at, counts))
        while at - self._counts[0][0] > OLDEST_SECONDS:
            self._counts.popleft()
        while len(self._counts) > 2 and at - self._counts[1][0] >= RATE_SECONDS:
            self._counts.popleft()
        then, earlier = self._counts[0]
        if at <= then:
            return {}
        # A row that was filled anew counts from zero.
        return {
            server: max(0, count - earlier.get(server, count)) / (at - then)
            for server, count in counts.items()
        }
