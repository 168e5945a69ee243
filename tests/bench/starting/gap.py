"""What connects and streams notice of a controller that is replaced."""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from tests.bench.starting.hammering import LATE_SECONDS, Hammer, Sample
from tests.lab import endpoint
from tests.lab.consul import ConsulCluster
from tests.lab.held import Held
from tests.lab.mesh import Mesh
from tests.lab.scratch import scratch_directory
from tests.lab.versions import next_version

PROXIES = 3
NOTHING_SECONDS = 2.0
AFTER_SECONDS = 0.5
"""Connects are counted for so long after it is ready again."""

NOTHING = "nothing happens"
RESTART = "restart"
KILLED = "kill -9, and a start"
UPGRADE = "upgrade to another layout of the tables"
DOWNGRADE = "downgrade from it"

Step: TypeAlias = Callable[[], None]


@dataclass
class Noticed:
    """What was seen of one kind of event: a value for each time that it happened."""

    ready_seconds: list[float] = field(default_factory=list)
    connects: list[float] = field(default_factory=list)
    failed: list[float] = field(default_factory=list)
    late: list[float] = field(default_factory=list)
    longest_ms: list[float] = field(default_factory=list)
    direct_late: list[float] = field(default_factory=list)
    direct_longest_ms: list[float] = field(default_factory=list)
    broken_streams: list[float] = field(default_factory=list)

    def note(self, by_vip: Sequence[Sample], direct: Sequence[Sample]) -> None:
        """Add what was seen of connects while it happened once."""
        self.connects.append(len(by_vip))
        self.failed.append(sum(each.failed for each in by_vip))
        self.late.append(sum(each.took > LATE_SECONDS for each in by_vip))
        self.longest_ms.append(1000 * max(each.took for each in by_vip))
        self.direct_late.append(sum(each.took > LATE_SECONDS for each in direct))
        self.direct_longest_ms.append(1000 * max(each.took for each in direct))


class Replacing(Held):
    """A controller with Envoys that have streams, under connects that do not cease."""

    def __init__(self, cluster: ConsulCluster, envoy: Path) -> None:
        self._cluster, self._envoy = cluster, envoy

    def hold(self, stack: ExitStack) -> None:
        """Start all of it."""
        self._newer = next_version(stack.enter_context(scratch_directory()))
        cluster = self._cluster
        self._mesh = mesh = Mesh(cluster, self._envoy, proxies=PROXIES)
        stack.enter_context(mesh)
        mesh.start_envoys(20)
        self._controller = mesh.controller
        # A proxy without an Envoy: each connect moves its VIP on to another server.
        vip = self._register(cluster.register_proxy("hammered"))
        server = cluster.addresses[0], cluster.grpc_port
        self._hammer = stack.enter_context(Hammer(mesh.cgroup, (vip, 8502), server))

    def _register(self, proxy: str) -> str:
        at = self._controller.bootstraps / "api.sock"
        endpoint.ask(at, "PUT", f"/v1/proxies/{proxy}", {"node": "host1-virtual"})
        wait = f"/v1/proxies/{proxy}?wait=programmed&timeout=10"
        _, answer = endpoint.ask(at, "GET", wait)
        return str(answer["vip"]).partition(":")[0]

    def measure(self, rounds: int) -> dict[str, Noticed]:
        """Let each thing happen so many times."""
        steps: dict[str, Step] = {
            NOTHING: lambda: time.sleep(NOTHING_SECONDS),
            RESTART: lambda: self._replace({}),
            KILLED: self._kill,
            UPGRADE: lambda: self._replace(self._newer),
            DOWNGRADE: lambda: self._replace({}),
        }
        found = {name: Noticed() for name in steps}
        windows: list[tuple[str, float, float]] = []
        for _ in range(rounds):
            for name, step in steps.items():
                opened, begun = self._opened(), time.monotonic()
                step()
                found[name].ready_seconds.append(time.monotonic() - begun)
                time.sleep(AFTER_SECONDS)
                windows.append((name, begun, time.monotonic()))
                found[name].broken_streams.append(self._broken(opened))
        by_vip, direct = self._hammer.finish()
        for name, begun, ended in windows:
            found[name].note(
                *(
                    [s for s in each if begun <= s.begun < ended]
                    for each in (by_vip, direct)
                )
            )
        return found

    def _replace(self, env: dict[str, str]) -> None:
        self._controller.terminate()
        self._controller.start(env=env)

    def _kill(self) -> None:
        self._controller.kill()
        self._controller.start()

    def _opened(self) -> list[int]:
        return [each.upstream_cx_total for each in self._mesh.envoys.values()]

    def _broken(self, opened: list[int]) -> int:
        """Return how many Envoys have another xDS stream than before, or none."""
        envoys = self._mesh.envoys.values()
        pairs = zip(envoys, opened, strict=True)
        return sum(
            e.upstream_cx_total != before or not e.connected_state
            for e, before in pairs
        )
