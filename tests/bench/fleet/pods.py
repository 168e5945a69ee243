"""The pods of one host on a real cluster, with us or with consul-dataplane."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench.fleet.counters import Counted, count_all, cpu_of
from tests.bench.fleet.memory import Memory, memory_of
from tests.bench.peers.bare_controller import controller_of
from tests.bench.peers.dataplanes import Dataplanes
from tests.bench.run import Run
from tests.lab.consul import ConsulCluster
from tests.lab.mesh import Mesh
from tests.lab.parts import find_envoy
from tests.lab.processes import pss_of, wait_until, with_children

WITH_ENVOYS = 6
"""Pods that are looked at with real Envoys, too."""
NODE = "host-1"
SETTLE_SECONDS = 5.0
NOTHING = Counted()


@dataclass(frozen=True)
class Seen:
    """What so many pods' processes take, and what they did for a while."""

    memory: Memory
    open: Counted
    """What they have open at all servers together."""
    asked: Counted
    """What they asked meanwhile."""
    seconds: float
    cpu: float
    """Seconds of a CPU meanwhile."""
    each: Sequence[float]
    """MB PSS of each process."""

    @property
    def calls_a_minute(self) -> float:
        """All kinds of them."""
        asked = self.asked.calls + self.asked.queries
        return 60 * asked / self.seconds


@dataclass(frozen=True)
class WithEnvoys:
    """What some pods' Envoys open, and what each adds to its dataplane's memory."""

    ours: Counted = NOTHING
    theirs: Counted = NOTHING
    megabytes: float = 0.0


class Pods:
    """They are registered on one node; each look ends what it began."""

    def __init__(self, run: Run, cluster: ConsulCluster, pods: int) -> None:
        self._run = run
        self._cluster = cluster
        self._seconds = 6.0 if run.quick else 30.0
        for pod in range(pods):
            cluster.register_proxy(f"pod-{pod}", node=NODE)
        time.sleep(2)
        self._before = count_all(cluster)

    def ours(self, pods: int, *, longest: bool = False) -> Seen:
        """Run a controller."""
        self._run.say(f"a controller with {pods} proxies")
        with controller_of(self._cluster, _ids(pods), NODE) as controller:
            return self._look(with_children(controller.child.pid), longest=longest)

    def theirs(self, binary: Path, pods: int, *, longest: bool = False) -> Seen:
        """Run a consul-dataplane for each pod."""
        self._run.say(f"{pods} consul-dataplanes")
        with Dataplanes(binary, self._cluster, _ids(pods), NODE) as dataplanes:
            return self._look(dataplanes.pids, longest=longest)

    def _look(self, pids: list[int], *, longest: bool) -> Seen:
        time.sleep(SETTLE_SECONDS)
        before, begun = count_all(self._cluster), time.monotonic()
        used = sum(map(cpu_of, pids))
        time.sleep(self._seconds if longest else 0.1)
        now = count_all(self._cluster)
        seconds = time.monotonic() - begun
        return Seen(
            memory_of(pids),
            now - self._before,
            now - before,
            seconds,
            sum(map(cpu_of, pids)) - used,
            [pss_of(pid) for pid in pids],
        )

    def with_envoys(self, binary: Path | None) -> "WithEnvoys":
        """Look at some pods' real Envoys."""
        envoy = find_envoy()
        if envoy is None:
            return WithEnvoys()
        self._run.say(f"{WITH_ENVOYS} real Envoys")
        with Mesh(self._cluster, envoy, proxies=WITH_ENVOYS) as mesh:
            time.sleep(SETTLE_SECONDS)
            before = count_all(self._cluster)
            mesh.start_envoys(60)
            ours = count_all(self._cluster) - before
        if binary is None:
            return WithEnvoys(ours)
        ids = _ids(WITH_ENVOYS)
        with Dataplanes(binary, self._cluster, ids, NODE) as bare:
            time.sleep(SETTLE_SECONDS)
            before, small = count_all(self._cluster), memory_of(bare.pids)
        time.sleep(1)
        with Dataplanes(binary, self._cluster, ids, NODE, envoy=envoy) as whole:
            wait_until(
                lambda: (count_all(self._cluster) - before).streams_open >= WITH_ENVOYS,
                "their xDS streams",
                60,
            )
            time.sleep(SETTLE_SECONDS)
            theirs = count_all(self._cluster) - before
            more = memory_of(whole.pids).pss - small.pss
        return WithEnvoys(ours, theirs, max(0.0, more / WITH_ENVOYS))


def _ids(pods: int) -> list[str]:
    return [f"pod-{pod}-sidecar-proxy" for pod in range(pods)]
