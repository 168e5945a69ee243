"""What Consul servers say they were asked, and what their processes used."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Self

from prometheus_client.parser import text_string_to_metric_families

from tests.lab.consul import GRPC_PORT, HTTP_PORT, ConsulCluster
from tests.lab.http_request import request
from tests.lab.scratch import Netns
from tests.lab.sockets import accepted

TELEMETRY = {"telemetry": {"prometheus_retention_time": "1h", "disable_hostname": True}}
"""A server's configuration that this module needs."""

TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Counted:
    """One server, or several together; those that end in `_open` are as of now."""

    calls: float = 0
    """gRPC calls, streams among them."""
    streams: float = 0
    """gRPC streams that were opened."""
    connections: float = 0
    """gRPC connections that were accepted."""
    streams_open: float = 0
    connections_open: float = 0
    """TCP connections to the gRPC port."""
    blocking_open: float = 0
    """Those to the HTTP port: each host's carries its blocking query."""
    queries: float = 0
    """Answers of the catalog over HTTP."""
    cpu: float = 0
    """Seconds."""

    def __add__(self, other: Self) -> Self:
        return self._each(other, 1)

    def __sub__(self, other: Self) -> Self:
        return self._each(other, -1)

    def _each(self, other: Self, sign: int) -> Self:
        names = [field.name for field in fields(self)]
        pairs = {n: getattr(self, n) + sign * getattr(other, n) for n in names}
        return type(self)(**pairs)


GRPC = {
    "consul_grpc_server_request_count": "calls",
    "consul_grpc_server_stream_count": "streams",
    "consul_grpc_server_connection_count": "connections",
    "consul_grpc_server_streams": "streams_open",
}


def count(cluster: ConsulCluster, i: int, netns: Netns | None = None) -> Counted:
    """Ask one server."""
    url = f"{cluster.http_addresses[i]}/v1/agent/metrics?format=prometheus"
    text = request("GET", url, netns=netns).decode()
    pid, address = cluster.servers[i].pid, cluster.addresses[i]
    at = Counted(
        connections_open=accepted(pid, f"{address}:{GRPC_PORT}"),
        blocking_open=accepted(pid, f"{address}:{HTTP_PORT}"),
        cpu=cpu_of(pid),
    )
    return counted_in(text) + at


def count_all(
    cluster: ConsulCluster, netns: Netns | None = None, but: Sequence[int] = ()
) -> Counted:
    """Ask all servers but these, and add up."""
    total = Counted()
    for i in range(len(cluster.servers)):
        if i not in but:
            total += count(cluster, i, netns)
    return total


def counted_in(text: str) -> Counted:
    """Read a server's metrics in Prometheus's format."""
    found = dict.fromkeys([*GRPC.values(), "queries"], 0.0)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels, name = sample.labels, sample.name.removesuffix("_total")
            if name in GRPC and labels.get("server_type") == "external":
                found[GRPC[name]] += sample.value
            elif name == "consul_api_http_count":
                of_catalog = labels.get("path", "").startswith("v1_catalog_service_")
                found["queries"] += sample.value * of_catalog
    return Counted(**found)


def cpu_of(pid: int) -> float:
    """Return the seconds that a process has used of a CPU."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / TICKS
