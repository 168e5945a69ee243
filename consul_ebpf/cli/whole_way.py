"""`doctor`: connects to each server as an Envoy does, through a VIP.

A probe connects to each server directly. Between an Envoy and a server there is our
program, and any other that is attached at the same hooks, such as Cilium's load
balancer for services. If the source names a ClusterIP, Cilium's program translates it
for the probe, but not for an Envoy if it runs before our program.
"""

from collections.abc import Sequence
from ipaddress import IPv4Network
from pathlib import Path

from consul_ebpf.cli.findings import Finding
from consul_ebpf.config.schema import Kernel
from consul_ebpf.kernel import host
from consul_ebpf.kernel.trial import Place, Reached, Trial, trial
from consul_ebpf.model.errors import ConsulEbpfError
from consul_ebpf.model.values import Server
from consul_ebpf.wiring.consul import Parts


async def try_whole_way(
    kernel: Kernel, parts: Parts, alive: Sequence[Server]
) -> list[Finding]:
    """Connect through a VIP to each server that answered its probe.

    Args:
        kernel: says where to attach.
        parts: makes the probe.
        alive: the servers that answered.

    Returns:
        A finding for each server; one that warns if nothing can be tried here.
    """
    if not alive:
        return []
    try:
        place = Place(
            bpffs=Path(kernel.bpffs),
            cgroup=host.find_cgroup(kernel.cgroup),
            network=IPv4Network(kernel.vip_cidr),
            port=kernel.vip_port,
        )
        with trial(place, alive) as tried:
            return [await _go(tried, parts, server) for server in alive]
    except ConsulEbpfError as error:
        return [Finding("the way through a VIP", f"not tried: {error}", warn=True)]


async def _go(tried: Trial, parts: Parts, server: Server) -> Finding:
    name = f"through a VIP to {server.endpoint}"
    vip = tried.vip_to(server)
    if vip is None:
        text = "not tried: no ready row of it is in the kernel; does a controller run?"
        return Finding(name, text, warn=True)
    reached = tried.connect(vip)
    if stop := stopped(reached, tried.others()):
        return Finding.failed(name, stop)
    probe = parts.probe()  # a new one, because a probe keeps its channels open
    try:
        health = await probe.check(vip)
    finally:
        await probe.aclose()
    elsewhere = ""
    if reached.peer != server.endpoint:
        elsewhere = f"; another program sends it on to {reached.peer}"
    if not health.alive:
        return Finding.failed(name, f"connected, and then: {health.reason}{elsewhere}")
    return Finding(name, f"{health.reason}{elsewhere}")


def stopped(reached: Reached, others: Sequence[str]) -> str:
    """Return why a connect to a server that answers its probe failed. Pure.

    Args:
        reached: what became of the connect.
        others: names of the other programs at our hooks.

    Returns:
        The reason, and what to do; empty: the connect succeeded.
    """
    named = f" ({', '.join(others)})" if others else ""
    if not reached.seen:
        went = f"went to {reached.peer}" if not reached.error else reached.error
        return (
            f"no redirect: the connect never came to our program ({went}): another "
            f"one at connect4 or connect6 refuses it or changes its address{named}"
        )
    if reached.error:
        return (
            f"our program sent it there, and TCP failed: {reached.error}. The server "
            f"answers its probe, so another program{named} translates that address, "
            "and runs before ours: have the source name the servers' own addresses"
        )
    return ""
