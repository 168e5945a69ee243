"""The last known servers, on disk, for a controller that starts while Consul is away.

The file belongs to the cluster that the configuration describes, because nobody else
can tell while Consul is away. A file of another cluster is not read, and is replaced by
the first list.
"""

import hashlib
import json
import logging
import time
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address
from pathlib import Path

import msgspec

from consul_ebpf.base.events import event
from consul_ebpf.base.state_file import JsonFile
from consul_ebpf.model.values import (
    PooledServer,
    Server,
    ServerState,
    Service,
    Table,
)
from consul_ebpf.servers.sanity import sane

logger = logging.getLogger(__name__)

SERVERS_FILE = "servers.json"
"""In the state directory."""


class _Record(msgspec.Struct, frozen=True):
    id: str
    port: int
    ipv4: str
    ipv6: str
    name: str
    version: str


class _Content(msgspec.Struct, frozen=True):
    cluster: str
    servers: list[_Record]


def cluster_key(
    source: str, datacenter: str, http_addresses: Iterable[str], seeds: Iterable[str]
) -> str:
    """Return what tells one configured cluster from another, in any order of addresses.

    It is a digest, because an address may hold a password.
    """
    parts = [source, datacenter, sorted(http_addresses), sorted(seeds)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


class KnownServers:
    """`servers.json`: the servers of the newest list, without their states."""

    def __init__(self, directory: Path, cluster: str, vip_network: IPv4Network) -> None:
        """Keep the file in `directory`, for the cluster of this `cluster_key`."""
        self._file = JsonFile(directory / SERVERS_FILE, _Content)
        self._cluster = cluster
        self._vip_network = vip_network

    def __repr__(self) -> str:
        return f"<KnownServers {self._file.path}>"

    def resume(self, table: Table) -> tuple[PooledServer, ...]:
        """Return the servers to begin with.

        If the kernel's table has servers, those: proxies use them now. They keep their
        states, and get their names from the file. If the table is empty, as after a
        reboot, those of the file: they count as ready until their probes fail.
        """
        saved = {server.endpoint: server for server in self.load()}
        if not table.servers:
            return tuple(
                PooledServer(each, ServerState.READY) for each in saved.values()
            )
        return tuple(
            PooledServer(saved.get(each.server.endpoint, each.server), each.state)
            for each in table.servers.values()
        )

    def load(self) -> tuple[Server, ...]:
        """Return the file's servers; none, and a log line, if it cannot be used."""
        content = self._file.load()
        if content is None:
            return ()
        path = self._file.path
        if content.cluster != self._cluster:
            logger.warning(
                "%s: ignored, it is of another [consul] configuration",
                path,
                extra=event("state_ignored"),
            )
            return ()
        try:
            servers = [_server(each) for each in content.servers]
            kept, rejected = sane(servers, self._vip_network)
        except ValueError as error:
            kept, rejected = (), (str(error),)
        if rejected:
            self._file.reject(rejected[0])
            return ()
        logger.info(
            "%s: %d servers, last changed %.1f h ago",
            path,
            len(kept),
            (time.time() - path.stat().st_mtime) / 3600,
            extra=event("resumed"),
        )
        return tuple(kept)

    def save(self, servers: Iterable[PooledServer]) -> None:
        """Write the servers that are not draining, if the file holds others."""
        records = [_record(each.server) for each in servers if _listed(each)]
        if records:
            records.sort(key=lambda each: each.id)
            self._file.save(_Content(self._cluster, records))


def known_by(
    known: Iterable[PooledServer], service: Service, table: Table
) -> tuple[PooledServer, ...]:
    """Return those of the known servers that have a row of this service in its table.

    In that row's state: the others' is not known, and a probe soon tells.
    """
    states = {row.endpoint: row.state for row in table.servers.values()}
    at = [(each.server, service.endpoint_of(each.server)) for each in known]
    return tuple(
        PooledServer(server, states[where], service=service)
        for server, where in at
        if where in states
    )


def _listed(pooled: PooledServer) -> bool:
    return pooled.state is not ServerState.DRAINING


def _record(server: Server) -> _Record:
    ipv4, ipv6 = (str(each or "") for each in (server.ipv4, server.ipv6))
    return _Record(server.id, server.port, ipv4, ipv6, server.name, server.version)


def _server(record: _Record) -> Server:
    """Read a server; raises ValueError if address or port are missing or wrong."""
    if not (record.ipv4 or record.ipv6) or not 0 < record.port < 65536:
        raise ValueError(f"server {record.id} has no address or no port")
    return Server(
        record.id,
        record.port,
        IPv4Address(record.ipv4) if record.ipv4 else None,
        IPv6Address(record.ipv6) if record.ipv6 else None,
        record.version,
        record.name,
    )
