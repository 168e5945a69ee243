"""What 250 pods on one node cost: `nox -s scale -- pods`, as root.

A real controller and kernel and a real Consul without ACLs; a client makes kubelet's
calls, all at once, for pods that are a directory and a cgroup each.
"""

import asyncio
import os
import statistics
import time
from pathlib import Path

from tests.lab.consul import ConsulCluster
from tests.lab.node_plugin import Served, served_node
from tests.lab.parts import ensure_consul
from tests.lab.processes import pss_of, wait_until

PODS = 250
IDLE_SECONDS = 10.0


def measure(node: Served, volumes: str) -> None:
    """Publish all, idle, unpublish all; print the figures."""
    pods = [node.kubelet.pod(f"web-{n}") for n in range(PODS)]
    pid = node.controller.child.pid
    print(f"{PODS} pods, volumes = {volumes}")
    before = cpu_of(pid)
    show("publish", asyncio.run(node.publish_all(pods)))
    print(f"  CPU for that: {cpu_of(pid) - before:.1f} s")
    print(f"  controller: {pss_of(pid):.0f} MB PSS")
    before = cpu_of(pid)
    time.sleep(IDLE_SECONDS)
    print(f"  idle: {100 * (cpu_of(pid) - before) / IDLE_SECONDS:.1f} % of one CPU")
    before = cpu_of(pid)
    show("unpublish", asyncio.run(node.unpublish_all(pods)))
    print(f"  CPU for that: {cpu_of(pid) - before:.1f} s")
    wait_until(lambda: not node.controller.status()["proxies"], "no VIP", 30)


def show(what: str, seconds: list[float]) -> None:
    """Print how long calls that began at once took."""
    cuts = statistics.quantiles(seconds, n=100)
    print(f"  {what}: p50 {cuts[49]:.2f} s, p99 {cuts[98]:.2f} s")


def cpu_of(pid: int) -> float:
    """Return the seconds of CPU that a process has used."""
    stat = Path(f"/proc/{pid}/stat").read_text()
    user, system = stat.rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Measure both kinds of volumes."""
    with ConsulCluster(ensure_consul(), size=1) as cluster:
        for volumes in ("tmpfs", "directory"):
            with served_node(cluster, volumes) as node:
                measure(node, volumes)


if __name__ == "__main__":
    main()
