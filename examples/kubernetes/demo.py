"""Pods of a real Kubernetes without consul-dataplane: a demonstration.

`nox -s demo-kubernetes` runs it. Needs root and takes about a minute, and a quarter of
an hour the first time: Kubernetes is built then.
"""

import os
import sys
import time
from collections import Counter
from functools import partial
from pathlib import Path

from tests.lab.kubernetes import binaries
from tests.lab.kubernetes.api import restarts
from tests.lab.kubernetes.cluster import missing
from tests.lab.kubernetes.envoy import PodEnvoy
from tests.lab.kubernetes.mesh import PodsMesh
from tests.lab.kubernetes.processes import all_named
from tests.lab.kubernetes.served import ServedPods
from tests.lab.parts import ensure_consul, find_envoy
from tests.lab.processes import LabError, wait_until
from tests.lab.telling import act, play, say, show, since

PODS = ("web", "api", "orders")


def main() -> int:
    """Tell the story; 0 if all of it happened."""
    return play(lambda: tell(*_parts()))


def tell(consul: Path, envoy: Path) -> None:
    """Run the acts, each on what the last one left."""
    say("[bold]Pods of a service mesh, and no consul-dataplane in any of them.[/]")

    act("A Kubernetes of one node, three Consul servers, a stand-in for consul-k8s")
    started = time.monotonic()
    with PodsMesh(consul, envoy) as mesh:
        say(f"Ready after {since(started)}. Consul denies all but those who log in.")

        act("One controller for the node, as a DaemonSet; a webhook rewrites pods")
        started = time.monotonic()
        with ServedPods(mesh) as served:
            say(f"Ready after {since(started)}.")
            envoys = deploy(served)
            lose_a_server(served, envoys)
            replace_controller(served, envoys)
            act("Clean up")
            for name in PODS:
                mesh.pods.delete(name)
            for name in PODS:
                mesh.pods.wait_gone(name)
            wait_until(lambda: not served.tokens(*PODS), "the end of the pods' tokens")
            say("Pods, their VIPs and their ACL tokens are gone.")


def deploy(served: ServedPods) -> list[PodEnvoy]:
    """Start three pods and show what they have."""
    act("Three pods; each asks consul-k8s for its proxy and gets a plain Envoy")
    started = time.monotonic()
    mesh = served.mesh
    for name in PODS:
        mesh.add_pod(name)
    pods = [mesh.pods.wait_ready(name, timeout=60) for name in PODS]
    say(f"Ready after {since(started)}:")
    say(mesh.cluster.kubectl("get", "pods", "-o", "wide").rstrip())
    if any(map(restarts, pods)) or all_named("bin/consul-dataplane"):
        raise LabError("pods start once, and run no consul-dataplane")
    say("Not one process of consul-dataplane is on this host.")
    envoys = [PodEnvoy(pod) for pod in pods]
    show(
        ("pod", "is on server"), ((each.name, each.wait_connected()) for each in envoys)
    )
    return envoys


def lose_a_server(served: ServedPods, envoys: list[PodEnvoy]) -> None:
    """Kill the server with the most pods; show where these went."""
    act("A server is killed")
    servers = served.mesh.consul.servers
    on = {each.name: each.wait_connected() for each in envoys}
    (lost, _), *_ = Counter(on.values()).most_common()
    servers.kill(servers.grpc_endpoints.index(lost))
    killed = time.monotonic()
    rows = []
    for each in envoys:
        if on[each.name] == lost:
            wait_until(partial(_left, each, lost), f"{each.name} elsewhere", 15)
            rows.append((each.name, lost, each.wait_connected(), since(killed)))
    say(f"Server {lost} killed (SIGKILL).")
    show(("pod", "was on", "is on", "after"), rows)
    servers.restart(servers.grpc_endpoints.index(lost))


def replace_controller(served: ServedPods, envoys: list[PodEnvoy]) -> None:
    """Delete the DaemonSet's pod, as an upgrade does."""
    act("The DaemonSet's pod is replaced, as by an upgrade")
    opened = {each.name: each.upstream_cx_total for each in envoys}
    started = time.monotonic()
    served.controller.replace()
    say(f"The next one is ready after {since(started)}.")
    if {each.name: each.upstream_cx_total for each in envoys} != opened:
        raise LabError("every Envoy kept its connection")
    say("Every Envoy kept the connection it had.")
    proxies = served.controller.status()["proxies"]
    show(
        ("proxy", "its VIP", "is bound to its pod by"),
        ((each["id"], each["vip"], ", ".join(each["bound"])) for each in proxies),
    )


def _left(envoy: PodEnvoy, server: str) -> bool:
    return (envoy.server or server) != server


def _parts() -> tuple[Path, Path]:
    if os.geteuid() != 0:
        raise LabError("the demo starts Kubernetes: run it as root")
    envoy = find_envoy()
    if envoy is None:
        raise LabError("no Envoy: run it with nox, or set ENVOY_BIN")
    binaries.ensure(say)
    if why := missing():
        raise LabError(why)
    return ensure_consul(say), envoy


if __name__ == "__main__":
    sys.exit(main())
