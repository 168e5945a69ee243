"""Random faults for a while, with real servers, real Envoys and the real kernel.

`SOAK_SECONDS=600 SOAK_SEED=7` for longer, or for the same again. No proxy is without a
server for longer than the limit while servers are there for it, and no stream breaks
but those to a server that was faulted.
"""

import os
import random
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from consul_ebpf.kernel import libbpf
from consul_ebpf.kernel.pins import Pins
from consul_ebpf.kernel.program import CONNECT
from tests.lab.consul import ConsulCluster
from tests.lab.long import SEED, seconds
from tests.lab.mesh import Mesh
from tests.lab.processes import wait_until

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.consul,
    pytest.mark.envoy,
    pytest.mark.timeout(3600),
]

SECONDS = float(os.environ.get("SOAK_SECONDS") or seconds(60, 600))
SEED = int(os.environ.get("SOAK_SEED") or SEED)
SLACK = 1.0
"""Of measuring, on a busy machine."""
KILLED, SILENT, ALONE = 1.0, 6.0, 30.0
"""Limits in seconds: a server killed, one that hangs, one that hangs while there is no
controller."""


@pytest.fixture
def mesh(consul_bin: Path, envoy_bin: Path) -> Iterator[Mesh]:
    with ConsulCluster(consul_bin) as cluster:
        # Room on each server for all six: Consul itself ends streams of a server that
        # has more than its share when another returns, which is no fault of ours.
        for n in range(12):
            cluster.register_proxy(f"idle-{n}")
        with Mesh(cluster, envoy_bin) as mesh:
            mesh.start_envoys()
            yield mesh


class Soak:
    """Faults, one after the other, each waited for; a history for whoever reads it."""

    def __init__(self, mesh: Mesh, chance: random.Random) -> None:
        self.mesh = mesh
        self.chance = chance
        self.history: list[str] = []
        self.worst = {KILLED: 0.0, SILENT: 0.0, ALONE: 0.0}
        self.moved = 0

    @property
    def controlled(self) -> bool:
        return self.mesh.controller.child.running

    def faults(self) -> list[Callable[[], None]]:
        always = [self.server_killed, self.server_frozen, self.controller_killed]
        more = [self.controller_restarted, self.link_detached, self.pins_removed]
        return [*always, *more] if self.controlled else [*always[:2], self.started]

    def streams(self) -> dict[str, int]:
        return {name: e.upstream_cx_total for name, e in self.mesh.envoys.items()}

    def untouched(self, before: dict[str, int], bereft: list[str]) -> None:
        """Who was on a healthy server has the stream it had."""
        after = self.streams()
        for name in before.keys() - set(bereft):
            assert before[name] == after[name], f"{name} lost a healthy stream"

    def server_lost(self, lose: Callable[[int], None], limit: float) -> int:
        mesh = self.mesh
        before = self.streams()
        victim = self.chance.choice([i for i in range(3) if mesh.on_server(i)])
        bereft = mesh.on_server(victim)
        begun = time.monotonic()
        lose(victim)
        moved = mesh.wait_connected(
            bereft, since=begun, timeout=limit + 2 * SLACK, but=victim
        )
        took = max((each.after for each in moved.values()), default=0.0)
        self.history[-1] += f" server {victim}: {len(bereft)} moved in {took:.2f} s"
        self.worst[limit] = max(self.worst[limit], took)
        self.moved += len(bereft)
        assert took <= limit + SLACK
        self.untouched(before, bereft)
        return victim

    def server_killed(self) -> None:
        victim = self.server_lost(self.mesh.cluster.kill, KILLED)
        self.mesh.cluster.restart(victim)
        self.ready()

    def server_frozen(self) -> None:
        limit = SILENT if self.controlled else ALONE
        victim = self.server_lost(self.mesh.cluster.freeze, limit)
        self.mesh.cluster.thaw(victim)
        self.mesh.cluster.wait_ready()
        self.ready()

    def ready(self) -> None:
        """Wait until the controller, if there is one, has seen the server's return."""
        if self.controlled:
            wait_until(
                lambda: (
                    {s["state"] for s in self.mesh.controller.status()["servers"]}
                    == {"ready"}
                ),
                "all servers ready",
                60,
            )

    def undisturbed(self, fault: Callable[[], None]) -> None:
        before = self.streams()
        fault()
        self.untouched(before, [])

    def controller_killed(self) -> None:
        self.undisturbed(self.mesh.controller.kill)

    def started(self) -> None:
        self.undisturbed(self.mesh.controller.start)
        self.ready()

    def controller_restarted(self) -> None:
        def restart() -> None:
            assert self.mesh.controller.terminate() == 0
            self.mesh.controller.start()

        self.undisturbed(restart)
        self.ready()

    def link_detached(self) -> None:
        def detach() -> None:
            hook = self.chance.choice(list(CONNECT.hooks))
            link = libbpf.obj_get(Pins(self.mesh.bpffs).current / hook)
            assert libbpf.lib().bpf_link_detach(link) == 0
            os.close(link)
            self.mended()

        self.undisturbed(detach)

    def pins_removed(self) -> None:
        def remove() -> None:
            shutil.rmtree(Pins(self.mesh.bpffs).current)
            self.mended()

        self.undisturbed(remove)

    def mended(self) -> None:
        def attached() -> bool:
            links = Pins(self.mesh.bpffs).links().values()
            return len(links) == 2 and all(link.cgroup_id for link in links)

        begun = time.monotonic()
        wait_until(attached, "links and pins back", 10)
        assert time.monotonic() - begun < 5 + SLACK


def test_a_soak_under_random_faults(mesh: Mesh) -> None:
    """See above; the seed is printed first."""
    print(f"SOAK_SEED={SEED}")
    soak = Soak(mesh, random.Random(SEED))
    end = time.monotonic() + SECONDS
    try:
        while time.monotonic() < end:
            fault = soak.chance.choice(soak.faults())
            soak.history.append(fault.__name__)
            fault()
    finally:
        print("\n".join(soak.history))
    worst = {f"{limit:g} s": f"{took:.2f} s" for limit, took in soak.worst.items()}
    print(f"{len(soak.history)} faults, {soak.moved} streams moved, worst {worst}")
    assert soak.moved
