"""The link that a cluster's pods are connected by."""

from contextlib import suppress

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

BRIDGE = "consul-ebpf-k8s"

MAC = "0a:58:0a:f4:09:01"
"""A bridge without one of its own takes the lowest of its ports'. It would be another
one whenever a pod came or went, and the other pods would send to the old one for half a
minute: a connection to Consul would end by its keepalive."""


def add_bridge(addresses: tuple[str, ...]) -> None:
    """Make it, with these addresses of the host's."""
    with IPRoute() as ip:
        ip.link("add", ifname=BRIDGE, kind="bridge", address=MAC)
        (index,) = ip.link_lookup(ifname=BRIDGE)
        for address in addresses:
            ip.addr("add", index=index, address=address, prefixlen=24)
        ip.link("set", index=index, state="up")


def remove_links() -> None:
    """Remove it and the pods' ends at it."""
    remove_cables()
    with IPRoute() as ip:
        for bridge in ip.link_lookup(ifname=BRIDGE):
            ip.link("del", index=bridge)


def remove_cables() -> None:
    """Remove the pods' ends at it."""
    with IPRoute() as ip:
        for bridge in ip.link_lookup(ifname=BRIDGE):
            for link in ip.link_lookup(master=bridge):
                with suppress(NetlinkError):  # gone meanwhile, with its namespace
                    ip.link("del", index=link)


def names() -> list[str]:
    """List the links that may be a cluster's."""
    with IPRoute() as ip:
        found = [str(link.get_attr("IFLA_IFNAME")) for link in ip.get_links()]
    return [name for name in found if name.startswith(("veth", BRIDGE))]
