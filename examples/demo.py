"""Servers die and the mesh goes on: a demonstration on real parts.

`nox -s demo` runs it. Needs root and takes about half a minute.
"""

import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from tests.lab.consul import ConsulCluster
from tests.lab.mesh import Mesh
from tests.lab.parts import ensure_consul, find_envoy
from tests.lab.processes import LabError, wait_until
from tests.lab.telling import act, play, say, show, since


def main() -> int:
    """Tell the story; 0 if all of it happened."""
    return play(lambda: tell(*_parts()))


def tell(consul: Path, envoy: Path) -> None:
    """Run the acts, each on what the last one left."""
    say("[bold]Consul's mesh without consul-dataplane.[/] Only loopback addresses, a")
    say("scratch cgroup and a scratch bpffs: the rest of this machine is untouched.")

    act("Three Consul servers, six registered proxies")
    started = time.monotonic()
    with ConsulCluster(consul) as cluster:
        say(f"{', '.join(cluster.grpc_endpoints)}: ready after {since(started)}.")

        act("The controller programs the kernel and writes a bootstrap for each proxy")
        started = time.monotonic()
        with Mesh(cluster, envoy) as mesh:
            say(f"Ready after {since(started)}.")
            connect(mesh)
            first = lose_a_server(mesh)
            bring_back(mesh, first)
            act("The controller is killed, and then a server: the kernel is alone")
            mesh.controller.kill()
            say("Controller killed (SIGKILL).")
            lose_a_server(mesh, announce=False)
            status = mesh.controller.status()
            if status["controller"]["running"] or not status["kernel"]["attached"]:
                raise LabError(f"controller dead and kernel attached: {status}")
            active = sum(server["active"] for server in status["servers"])
            say(
                f"`status` still reads the kernel: {active} connections, no controller."
            )
            act("Clean up")
            mesh.controller.detach()
            if left := [path.name for path in mesh.bpffs.iterdir() if path.is_dir()]:
                raise LabError(f"detach removed every pin: there is {', '.join(left)}")
            say("Program and tables detached; Envoys and servers stop.")


def connect(mesh: Mesh) -> None:
    """Start the Envoys: each finds a server through a VIP of its own."""
    act("Six real Envoys start; each knows nothing but a VIP of its own")
    connected = mesh.start_envoys()
    vips = {proxy["id"]: proxy["vip"] for proxy in mesh.controller.status()["proxies"]}
    show(
        ("proxy", "its VIP", "is on server", "connected after"),
        (
            (proxy, vips[proxy], there.server, f"{there.after:.2f} s")
            for proxy, there in sorted(connected.items())
        ),
    )
    spread = Counter(there.server for there in connected.values())
    if set(spread) != set(mesh.cluster.grpc_endpoints):
        raise LabError(f"proxies on every server: only on {', '.join(spread)}")


def lose_a_server(mesh: Mesh, *, announce: bool = True) -> int:
    """Kill the server with the most proxies; show where these went. Return it."""
    servers = range(len(mesh.cluster.addresses))
    victim = max(servers, key=lambda i: len(mesh.on_server(i)))
    endpoint = mesh.cluster.grpc_endpoints[victim]
    if announce:
        act("A server is killed")
    others = set(mesh.envoys) - set(mesh.on_server(victim))
    connections = _connections(mesh, others)

    moved = mesh.kill_server(victim)

    say(f"Server {endpoint} killed (SIGKILL). Its {len(moved)} proxies:")
    show(
        ("proxy", "was on", "is on", "after"),
        (
            (proxy, endpoint, there.server, f"[bold]{there.after:.2f} s[/]")
            for proxy, there in sorted(moved.items())
        ),
    )
    if _connections(mesh, others) != connections:
        raise LabError(f"{', '.join(others)} kept their connections")
    say(f"The other {len(others)} kept the connections they had.")
    return victim


def bring_back(mesh: Mesh, server: int) -> None:
    """Restart a server; wait until new connects may go there again."""
    endpoint = mesh.cluster.grpc_endpoints[server]
    act("The server comes back")

    def noticed() -> str:
        seen = state(mesh, endpoint)
        return "" if seen == "ready" else seen

    say(f"The controller has marked it {wait_until(noticed, f'{endpoint} failing')}.")
    mesh.cluster.restart(server)
    started = time.monotonic()
    wait_until(lambda: state(mesh, endpoint) == "ready", f"{endpoint} ready again")
    say(f"Started again; ready for new connects after {since(started)}.")


def state(mesh: Mesh, endpoint: str) -> str:
    """Return what `status` says of a server."""
    for server in mesh.controller.status()["servers"]:
        if f"{server['address']}:{server['port']}" == endpoint:
            return str(server["state"])
    return "unlisted"


def _connections(mesh: Mesh, proxies: Iterable[str]) -> Mapping[str, int]:
    return {proxy: mesh.envoys[proxy].upstream_cx_total for proxy in proxies}


def _parts() -> tuple[Path, Path]:
    if os.geteuid() != 0:
        raise LabError("the demo loads a BPF program: run it as root")
    envoy = find_envoy()
    if envoy is None:
        raise LabError("no Envoy: run it with nox, or set ENVOY_BIN")
    return ensure_consul(say), envoy


if __name__ == "__main__":
    sys.exit(main())
