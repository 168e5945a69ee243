"""Many hosts on one: a controller each, with a cgroup and a bpffs of its own."""

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from tests.lab.consul import ConsulCluster
from tests.lab.controller import COMMAND, toml
from tests.lab.held import Held
from tests.lab.processes import Child, wait_until
from tests.lab.scratch import Netns, scratch_bpffs, scratch_cgroup, scratch_directory

AT_ONCE = 4
START_SECONDS = 120.0
"""For a few at once, on a machine that is busy."""


def node_of(host: int) -> str:
    """Return the catalog node that a host's proxies are registered on."""
    return f"host-{host}"


def proxies_of(host: int, pods: int) -> list[str]:
    """Return the ids of a host's proxies."""
    return [f"web-{host}-{pod}-sidecar-proxy" for pod in range(pods)]


def register(cluster: ConsulCluster, hosts: Sequence[int], pods: int) -> None:
    """Put the proxies of some hosts into the catalog."""
    for host in hosts:
        for pod in range(pods):
            cluster.register_proxy(f"web-{host}-{pod}", node=node_of(host))


class Hosts(Held):
    """Some hosts' controllers, without Envoys."""

    def __init__(
        self, cluster: ConsulCluster, netns: Netns, hosts: Sequence[int], pods: int
    ) -> None:
        """Prepare; entering starts them, a few at once, until all are ready."""
        self._cluster = cluster
        self._netns = netns
        self._hosts = hosts
        self._pods = pods
        self.children: list[Child] = []

    def hold(self, stack: ExitStack) -> None:
        """Start each controller, and wait for its proxies' bootstraps."""
        for begin in range(0, len(self._hosts), AT_ONCE):
            few = self._hosts[begin : begin + AT_ONCE]
            places = [self._start(stack, host) for host in few]
            for host, place in zip(few, places, strict=True):
                wait_until(
                    partial(self._serves, place),
                    f"the proxies of host {host} served",
                    START_SECONDS,
                )

    def _start(self, stack: ExitStack, host: int) -> Path:
        place = stack.enter_context(scratch_directory())
        config = {
            "consul": {
                "http_addresses": self._cluster.http_addresses,
                "tls": {"disabled": True},
            },
            "kernel": {
                "cgroup": str(stack.enter_context(scratch_cgroup())),
                "bpffs": str(stack.enter_context(scratch_bpffs())),
            },
            "bootstrap": {"directory": str(place / "run")},
            "proxies": [
                {"id": proxy, "node": node_of(host)}
                for proxy in proxies_of(host, self._pods)
            ],
        }
        (place / "config.toml").write_text(toml(config))
        argv = [*COMMAND, "run", "--config", str(place / "config.toml")]
        child = Child("controller", argv, place, netns=self._netns)
        stack.callback(child.kill)
        self.children.append(child)
        return place

    def _serves(self, place: Path) -> bool:
        for child in self.children:
            child.must_run()
        return len(list(place.glob("run/*/bootstrap.json"))) == self._pods
