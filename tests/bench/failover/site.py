"""Three real servers, and all peers beside each other on them: each event hits all."""

import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from threading import Event

from tests.bench.failover import peers
from tests.bench.failover.moves import STEADY_SECONDS, End, History, Move
from tests.bench.failover.wire import Wire
from tests.lab.consul import GRPC_PORT, ConsulCluster
from tests.lab.held import Held
from tests.lab.processes import LabError
from tests.lab.scratch import scratch_cgroup, scratch_netns

ADDRESSES = ("127.0.100.1", "127.0.100.2", "127.0.100.3")
START_SECONDS = 90.0
GATHER_SECONDS = 15.0
"""Some consul-dataplanes take longer; then they have no part in what follows."""
LOOK_SECONDS = 0.05

REFUSING = """
table ip refusing {{
  chain input {{
    type filter hook input priority 0;
    ip daddr {{ {addresses} }} tcp dport {port} reject with tcp reset
  }}
}}
"""

Make = Callable[[peers.Place, Sequence[str], int], peers.Peer]


class Stopped(Exception):  # noqa: N818  # nothing is wrong
    """The run is over for everybody."""


class Site(Held):
    """A namespace with a cluster, peers and a wire of its own.

    Args:
        consul: the binary.
        envoy: the binary.
        dataplane: the binary, None: that peer is not made.
        groups: by each peer's name how many Envoys it has, and what makes it.
        idle: proxies that are registered and have no Envoy, so that there is room on
            the servers. See `make_room`.
        stop: set by whoever ends the run.
    """

    def __init__(
        self,
        consul: Path,
        envoy: Path,
        dataplane: Path | None,
        groups: Mapping[str, Sequence[tuple[int, Make]]],
        *,
        idle: int,
        stop: Event,
    ) -> None:
        self._consul = consul
        self._envoy = envoy
        self._dataplane = dataplane
        self._groups = groups
        self._idle = idle
        self.stop = stop
        self.proxies: dict[str, list[str]] = {}

    def hold(self, stack: ExitStack) -> None:
        """Start everything."""
        self.netns = stack.enter_context(scratch_netns())
        self.cgroups = [stack.enter_context(scratch_cgroup()) for _ in ADDRESSES]
        self.wire = stack.enter_context(Wire(self.netns, GRPC_PORT, peers.DNAT[0]))
        cluster = ConsulCluster(
            self._consul, ADDRESSES, netns=self.netns, cgroups=self.cgroups
        )
        self.cluster = stack.enter_context(cluster)
        self.make_room()
        place = peers.Place(self.cluster, self.netns, self._envoy, self._dataplane)
        made: list[peers.Peer] = []
        count = 0
        for name, parts in self._groups.items():
            self.proxies[name] = []
            for size, make in parts:
                ids = [
                    self.cluster.register_proxy(f"web-{n}", node=peers.NODE)
                    for n in range(count, count + size)
                ]
                made.append(stack.enter_context(make(place, ids, count)))
                self.proxies[name] += ids
                count += size
        self.wait_until(lambda: not self.without(self.all), START_SECONDS)
        if lost := self.without(self.all):
            raise LabError(f"no stream after {START_SECONDS:.0f} s: {', '.join(lost)}")
        for peer in made:
            peer.settle()

    @property
    def all(self) -> list[str]:
        """Every proxy's id."""
        return [id_ for group in self.proxies.values() for id_ in group]

    def make_room(self) -> None:
        """Register the idle proxies: a server takes as many streams as that allows."""
        for n in range(self._idle):
            self.cluster.register_proxy(f"idle-{n}", node="idle")

    def take_room(self) -> None:
        """Take them out again: servers with too many streams drain."""
        for n in range(self._idle):
            self.cluster.deregister(f"idle-{n}", node="idle")

    def history(self) -> History:
        """Return what went over the wire so far."""
        return History(self.wire.flows.streams)

    def moved(self, end: End) -> dict[str, list[Move]]:
        """Return what became of each peer's proxies on a server that ended."""
        history = self.history()
        return {name: history.moved(end, ids) for name, ids in self.proxies.items()}

    def without(self, proxies: Sequence[str], server: str = "") -> list[str]:
        """Return which have no stream that lasts (on this server)."""
        history, then = self.history(), time.time() - STEADY_SECONDS
        servers = [server] if server else ADDRESSES
        held = {s.proxy for each in servers for s in history.on(each, then, proxies)}
        return [id_ for id_ in proxies if id_ not in held]

    def unanswered(self, proxies: Sequence[str]) -> list[str]:
        """Return which have no configuration from the server they are on."""
        history, now = self.history(), time.time()
        held = [s for each in ADDRESSES for s in history.on(each, now, proxies)]
        answered = {stream.proxy for stream in held if stream.answered}
        return [id_ for id_ in proxies if id_ not in answered]

    def wait_until(self, done: Callable[[], bool], seconds: float) -> bool:
        """Wait for something, at most so long; return whether it came.

        Raises:
            Stopped: the run is over.
        """
        limit = time.monotonic() + seconds
        while not done():
            if time.monotonic() > limit:
                return False
            self.pause(LOOK_SECONDS)
        return True

    def pause(self, seconds: float) -> None:
        """Sleep.

        Raises:
            Stopped: the run is over.
        """
        if self.stop.wait(seconds):
            raise Stopped

    def gather(self, i: int) -> None:
        """Have every proxy go to one server: the others refuse and end connections."""
        others = [address for address in ADDRESSES if address != ADDRESSES[i]]
        with self._refusing(others):
            for address in others:
                kill = ["ss", "-K", "dst", address, "dport", "=", str(GRPC_PORT)]
                # It finds no such sockets of other protocols, and says so.
                enter = [*self.netns.enter, *kill]
                subprocess.run(enter, check=True, capture_output=True)
            self.wait_until(
                lambda: not self.without(self.all, ADDRESSES[i]), GATHER_SECONDS
            )

    @contextmanager
    def _refusing(self, addresses: Sequence[str]) -> Iterator[None]:
        rules = REFUSING.format(addresses=", ".join(addresses), port=GRPC_PORT)
        peers.run_nft(self.netns, rules)
        try:
            yield
        finally:
            with suppress(subprocess.CalledProcessError):
                peers.run_nft(self.netns, "delete table ip refusing")
