"""What a volume is to the rest of the controller: a proxy. Pure.

VIP, cgroup, key and files come from what kubelet says. The pod's author says only what
that pod's own Envoy is like, and what it gets is asked for with the pod's own token.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import TypeVar

from consul_ebpf.kubernetes.attributes import InvalidAttributeError, filled
from consul_ebpf.kubernetes.pods.join import Joined
from consul_ebpf.kubernetes.pods.volume import Volume
from consul_ebpf.model.names import problems, shown
from consul_ebpf.model.values import (
    Credentials,
    Login,
    Prometheus,
    Proxy,
    ProxyFiles,
    ProxyTelemetry,
)

T = TypeVar("T")

ADMIN = "127.0.0.1", 19000
"""consul-dataplane's default."""

CLOSED, OPEN = 0o600, 0o444
"""Modes of the files: if it is known as which user Envoy runs, and if not. Then the
mount is the fence: only the pod's containers that mount it can read them."""

OPTIONS = frozenset(
    {
        "credential-type",
        "envoy-admin-bind-address",
        "envoy-admin-bind-port",
        "envoy-ready-bind-address",
        "envoy-ready-bind-port",
        "login-auth-method",
        "login-datacenter",
        "login-meta",
        "login-namespace",
        "login-partition",
        "proxy-namespace",
        "proxy-partition",
        "service-namespace",
        "service-partition",
        "telemetry-prom-scrape-path",
        "telemetry-use-central-config",
    }
)
"""The options of consul-dataplane that are carried out here."""


@dataclass(frozen=True, slots=True)
class Node:
    """This node, as its pods' proxies need to know it."""

    catalog_node: str
    """Consul's name of it."""
    name: str = ""
    """Kubernetes's name of it."""
    host_ip: str = ""
    bearers: Path = Path()
    """The directory of the pods' service account tokens."""
    has_credentials: bool = False
    """Whether the controller has credentials of its own. No pod gets those."""


def wants_login(volume: Volume) -> bool:
    """Whether the pod's proxy has a token of its own, by a login."""
    return _Options(volume).text("credential-type") == "login"


def check(volume: Volume, node: Node) -> None:
    """Refuse a volume of which no proxy can be made.

    Raises:
        InvalidAttributeError: naming the attribute.
    """
    for field, wrong in problems(proxy_of(volume, Joined(awaits="-"), "/", node)):
        raise InvalidAttributeError(
            f"its attributes make a proxy whose {field} {wrong}"
        )


def proxy_of(volume: Volume, joined: Joined, cgroup: str, node: Node) -> Proxy:
    """Make a volume's proxy.

    Args:
        volume: of a pod on this node.
        joined: what Consul has for it.
        cgroup: the directory of the pod's cgroup.
        node: this node.

    Raises:
        InvalidAttributeError: an option is unknown or cannot be used.
    """
    fields = {
        "spec.nodeName": node.name,
        "metadata.name": volume.pod,
        "metadata.namespace": volume.namespace,
        "metadata.uid": volume.uid,
        "status.hostIP": node.host_ip,
    }
    options, known = _Options(volume, fields), joined.registration
    given = volume.attributes
    return Proxy(
        id=known.id if known else "",
        key=volume.key,
        node=node.catalog_node,
        namespace=known.namespace if known else options.tenancy("namespace"),
        partition=known.partition if known else options.tenancy("partition"),
        service=known.destination if known else "",
        owner=volume.owner,
        cgroup=cgroup,
        admin=options.address("envoy-admin-bind", ADMIN),
        ready=options.address("envoy-ready-bind", ("127.0.0.1", 0)),
        credentials=_credentials(volume, options, node),
        files=ProxyFiles(
            directory=volume.target,
            seen_at=given.mount,
            owner=_owner(volume),
            mode=OPEN if given.uid is None else CLOSED,
            exists_already=True,
        ),
        awaits=joined.awaits,
        ended=joined.ended,
        telemetry=ProxyTelemetry(
            options.switch("telemetry-use-central-config", default=True),
            Prometheus(options.text("telemetry-prom-scrape-path") or "/metrics"),
        ),
        env=given.filled_env(fields),
    )


def _owner(volume: Volume) -> tuple[int, int] | None:
    """Return who may read the files; None: it is not known."""
    uid, gid = volume.attributes.uid, volume.attributes.gid
    if uid is None:
        return None
    return uid, next(each for each in (gid, volume.group, uid) if each is not None)


def _credentials(volume: Volume, options: "_Options", node: Node) -> Credentials | None:
    kind = options.text("credential-type")
    if kind not in {"", "login"}:
        raise InvalidAttributeError(
            f"option credential-type is {shown(kind)}; a pod's proxy can only log in"
        )
    if not kind:
        # None would be the controller's own: then there is no token at all.
        return Credentials() if node.has_credentials else None
    method = options.text("login-auth-method")
    if not method:
        raise InvalidAttributeError("option login-auth-method is missing")
    return Credentials(
        login=Login(
            auth_method=method,
            bearer_token_file=str(node.bearers / volume.key),
            namespace=options.text("login-namespace"),
            partition=options.text("login-partition"),
            datacenter=options.text("login-datacenter"),
            meta=options.pairs("login-meta"),
        )
    )


class _Options:
    """The options of one volume, with the pod's fields filled in."""

    def __init__(self, volume: Volume, fields: Mapping[str, str] | None = None) -> None:
        self._options = volume.attributes.options
        self._fields = fields or {}
        for name in self._options:
            if name not in OPTIONS:
                raise InvalidAttributeError(
                    f"option {shown(name)} is unknown to this driver: upgrade it, or"
                    " remove the option"
                )

    def text(self, name: str) -> str:
        """Return an option's text; empty: it is not given."""
        value = self._options.get(name, "")
        if not isinstance(value, str):
            raise InvalidAttributeError(f"option {name} is a list; it must be a text")
        return filled(value, self._fields)

    def tenancy(self, kind: str) -> str:
        """Return the proxy's namespace or partition."""
        given = (self.text(f"{whose}-{kind}") for whose in ("proxy", "service"))
        return next(filter(None, given), "default")

    def switch(self, name: str, *, default: bool) -> bool:
        """Return whether a switch is on."""
        words = {"": default, "true": True, "false": False}
        return self._taken(name, words.__getitem__, "true or false")

    def address(self, name: str, default: tuple[str, int]) -> tuple[str, int] | None:
        """Return an address and port; None: the port is 0."""
        host, port = default
        host = self._taken(
            f"{name}-address", lambda text: str(ip_address(text or host)), "an IP"
        )
        port = self._taken(f"{name}-port", lambda text: _port(text, port), "a port")
        return (host, port) if port else None

    def pairs(self, name: str) -> tuple[tuple[str, str], ...]:
        """Return a list of `key=value`, sorted."""
        value = self._options.get(name, ())
        texts = [value] if isinstance(value, str) else value
        pairs = [filled(each, self._fields).partition("=") for each in texts if each]
        if not all(equals and key for key, equals, _ in pairs):
            raise InvalidAttributeError(f"option {name} is not like key=value")
        return tuple(sorted({key: text for key, _, text in pairs}.items()))

    def _taken(self, name: str, read: Callable[[str], T], what: str) -> T:
        text = self.text(name)
        try:
            return read(text)
        except (ValueError, KeyError):
            raise InvalidAttributeError(
                f"option {name} is {shown(text)}; it must be {what}"
            ) from None


def _port(text: str, default: int) -> int:
    port = int(text) if text else default
    if not 0 <= port < 1 << 16:
        raise ValueError
    return port
