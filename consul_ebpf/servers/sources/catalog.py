"""The servers in Consul's catalog, watched with blocking queries."""

import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from ipaddress import IPv4Address, IPv6Address, ip_address

import msgspec

from consul_ebpf.base.lines import one_line
from consul_ebpf.base.reasons import Reasons
from consul_ebpf.client.blocking import WAIT_SECONDS, watch_query
from consul_ebpf.client.http import ConsulHttp
from consul_ebpf.client.token import TokenSource, no_token
from consul_ebpf.client.transport import Https
from consul_ebpf.model.errors import ConsulError
from consul_ebpf.model.values import Server

logger = logging.getLogger(__name__)


class Entry(msgspec.Struct, frozen=True, rename="pascal"):
    """The fields we use of one instance of the service `consul`.

    Its ServicePort is the port of the servers' own RPC, and its ServiceAddress is
    empty. So the address is the node's, and the gRPC port comes from the metadata.
    """

    node: str
    address: str
    id: str = msgspec.field(default="", name="ID")
    tagged_addresses: dict[str, str] | None = None
    service_meta: dict[str, str] | None = None

    def meta(self, key: str) -> str:
        """Return one value of the service's metadata, or nothing."""
        return (self.service_meta or {}).get(key, "")


_ENTRY = msgspec.json.Decoder(Entry)
_LIST = msgspec.json.Decoder(list[msgspec.Raw])

MAX_ENTRIES = 2000
"""Most servers of an answer; a cluster has five."""


SHOWN = 300
"""Most characters of a line about an entry that is skipped."""


class CatalogSource:
    """A `ServerSource` of the servers registered in Consul.

    The source asks the catalog endpoint, not the health endpoint: Consul's health is
    serf's, which is seconds late and knows nothing of gRPC. The pool has probes of its
    own, and the catalog's index does not change with every check.
    """

    def __init__(
        self,
        http_addresses: Sequence[str],
        *,
        datacenter: str = "",
        token: TokenSource = no_token,
        grpc_port: int = 8502,
        tls: bool = False,
        https: Https | None = None,
        wait: float = WAIT_SECONDS,
    ) -> None:
        """Ask one address after the other until one answers.

        Args:
            http_addresses: `http[s]://host:port` of agents or servers.
            datacenter: empty for the datacenter of the agent that answers.
            token: called before each query; the token needs service:read on "consul"
                and node:read.
            grpc_port: used if no server's metadata names a port.
            tls: use the servers' TLS port instead of the plaintext one.
            https: how to verify https addresses; None: by the system's certificates.
            wait: seconds that a query blocks when nothing changes.
        """
        self._addresses = tuple(http_addresses)
        self._datacenter = datacenter
        self._token = token
        self._grpc_port = grpc_port
        self._tls = tls
        self._https = https
        self._wait = wait

    def __repr__(self) -> str:
        return f"<CatalogSource {', '.join(self._addresses)}>"

    async def watch(self) -> AsyncGenerator[tuple[Server, ...], None]:
        """Yield the whole list at once and again after each change, for ever."""
        skipped = Reasons(logger, "list_refused")
        answers = watch_query(
            self._addresses,
            _query,
            lambda data: servers_in(data, grpc_port=self._grpc_port, tls=self._tls),
            what="the servers in the catalog",
            datacenter=self._datacenter,
            token=self._token,
            https=self._https,
            wait=self._wait,
        )
        async with aclosing(answers):
            async for servers, reasons in answers:
                skipped.report(reasons)
                yield servers


async def _query(consul: ConsulHttp, index: int | None, wait: str) -> tuple[str, bytes]:
    answer = await consul.read("/v1/catalog/service/consul", index=index, wait=wait)
    return answer.index, answer.body


def servers_in(
    body: bytes, *, grpc_port: int, tls: bool
) -> tuple[tuple[Server, ...], tuple[str, ...]]:
    """Read the catalog's answer: the servers, and a line for each entry skipped.

    If some servers' metadata name a gRPC port, gRPC is off at the others. If none names
    one (an old Consul), `grpc_port` is used for all.

    Raises:
        ConsulError: the answer is no list, or has more than `MAX_ENTRIES` entries.
    """
    key = "grpc_tls_port" if tls else "grpc_port"
    entries: list[Entry] = []
    servers: list[Server] = []
    skipped: list[str] = []
    for number, item in enumerate(_items(body)):
        with_reason = f"entry {number} of the catalog's answer skipped"
        try:
            entries.append(_ENTRY.decode(item))
        except msgspec.ValidationError as error:
            skipped.append(f"{with_reason}: {one_line(error)}")
        except (msgspec.DecodeError, ValueError, RecursionError):
            skipped.append(f"{with_reason}: it is no JSON, or no Unicode text")
    default = "" if any(entry.meta(key) for entry in entries) else str(grpc_port)
    for entry in entries:
        port = entry.meta(key) or default
        v4, v6 = _addresses(entry)
        if not port:
            skipped.append(
                f"server {entry.node} skipped: its metadata has no {key},"
                f" so its {'gRPC TLS' if tls else 'gRPC'} port is off"
            )
        elif not (port.isascii() and port.isdecimal() and len(port) <= 5):
            skipped.append(
                f"server {entry.node} skipped: {key} {port[:40]!r} is no port"
            )
        elif v4 is None and v6 is None:
            skipped.append(
                f"server {entry.node} skipped: {entry.address!r} is no IP address"
            )
        else:
            servers.append(
                Server(
                    id=entry.id or entry.node,
                    port=int(port),
                    ipv4=v4,
                    ipv6=v6,
                    version=entry.meta("version"),
                    name=entry.node,
                )
            )
    return tuple(servers), tuple(one_line(each, SHOWN) for each in skipped)


def _items(body: bytes) -> list[msgspec.Raw]:
    try:
        items = _LIST.decode(body)
    except (msgspec.DecodeError, ValueError, RecursionError):
        raise ConsulError("the catalog's answer is no list of servers") from None
    if len(items) > MAX_ENTRIES:
        raise ConsulError(
            f"the catalog's answer lists {len(items)} servers; more than"
            f" {MAX_ENTRIES} are not read"
        )
    return items


def _addresses(entry: Entry) -> tuple[IPv4Address | None, IPv6Address | None]:
    """Return the node's address, and its tagged LAN address of the other family."""
    tagged = entry.tagged_addresses or {}
    v4: IPv4Address | None = None
    v6: IPv6Address | None = None
    for text in (entry.address, tagged.get("lan_ipv4"), tagged.get("lan_ipv6")):
        try:
            address = ip_address(text or "")
        except ValueError:
            continue
        if isinstance(address, IPv6Address) and address.scope_id:
            continue  # a zone is valid on that node only
        if isinstance(address, IPv4Address):
            v4 = v4 or address
        else:
            v6 = v6 or address
    return v4, v6
