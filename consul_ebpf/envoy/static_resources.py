"""`static_resources`: clusters, listeners and secrets, ours and those that people add.

Envoy does not start with two clusters of one name, nor with two listeners at one
address. The one that is added first stays. The other is left out, with a note that
names its key.
"""

from ipaddress import ip_address

from consul_ebpf.envoy.central import Central
from consul_ebpf.envoy.listeners import (
    PROMETHEUS_BACKEND,
    SELF_ADMIN,
    backend_cluster,
    prometheus_listener,
    prometheus_secrets,
    ready_listener,
    stats_listener,
)
from consul_ebpf.envoy.parts import Address, Part, socket_address
from consul_ebpf.envoy.shapes import (
    host_and_port,
    socket_of,
    wrong_cluster,
    wrong_listener,
)
from consul_ebpf.model.names import shown
from consul_ebpf.model.values import Prometheus, host_port

CLUSTERS = "envoy_extra_static_clusters_json"
LISTENERS = "envoy_extra_static_listeners_json"
WRITE_IT = "write it like 0.0.0.0:20200 or [::]:20200"


class StaticResources:
    """Makes `static_resources`. Call the methods in the order in which they stand.

    Args:
        central: central configuration.
        admin: where Envoy's admin interface is.
        ready: where the listener of /ready is to be, not at `admin`; None: there is
            none.
        xds: the cluster of the Consul servers.
    """

    def __init__(
        self, central: Central, admin: Address, ready: Address | None, xds: Part
    ) -> None:
        self._central = central
        self._admin = admin
        self._ready = ready
        self._clusters = [xds]
        self._listeners: list[Part] = []
        self._secrets: list[Part] = []
        self._bound = {ready: "the listener of /ready"} if ready else {}
        self._to_admin = False

    def __repr__(self) -> str:
        return f"<StaticResources {len(self._listeners)} listeners>"

    def add_listeners(self, prometheus: Prometheus) -> None:
        """Add the listeners that central configuration asks for, and /ready."""
        if where := self._bind_address("envoy_prometheus_bind_addr"):
            self._listeners.append(prometheus_listener(where, prometheus))
            self._secrets = prometheus_secrets(prometheus)
            if prometheus.backend_port:
                to = socket_address("127.0.0.1", prometheus.backend_port)
                self._clusters.append(backend_cluster(PROMETHEUS_BACKEND, to))
            else:
                self._to_admin = True
        if where := self._bind_address("envoy_stats_bind_addr"):
            self._listeners.append(stats_listener(where))
            self._to_admin = True
        if self._ready:
            self._listeners.append(ready_listener(self._ready))
            self._to_admin = True

    def add_cluster(self, cluster: Part) -> None:
        """Add a cluster of our own."""
        self._clusters.append(cluster)

    def add_extras(self) -> None:
        """Add the clusters and listeners that people wrote.

        Listeners of ours lead to a cluster `self_admin`. It is added, too, unless
        people wrote one.

        Raises:
            InvalidProxyError: a text is not JSON.
        """
        extra = self._central.objects(CLUSTERS, wrong_cluster)
        ours = {each["name"] for each in self._clusters}
        if self._to_admin and SELF_ADMIN not in {each["name"] for each in extra}:
            to = socket_address(*self._admin)
            self._clusters.append(backend_cluster(SELF_ADMIN, to))
            ours.add(SELF_ADMIN)
        for cluster in extra:
            if cluster["name"] in ours:
                why = f"there is another cluster {shown(cluster['name'])}"
                self._central.leave_out(CLUSTERS, why)
            else:
                ours.add(cluster["name"])
                self._clusters.append(cluster)
        for listener in self._central.objects(LISTENERS, wrong_listener):
            where = socket_of(listener)
            what = f"the listener {shown(listener.get('name', ''))}"
            if taken := self._claim(where, what) if where else "":
                self._central.leave_out(LISTENERS, taken)
            else:
                self._listeners.append(listener)

    def part(self) -> Part:
        """Return `static_resources`."""
        return {
            "clusters": self._clusters,
            **({"listeners": self._listeners} if self._listeners else {}),
            **({"secrets": self._secrets} if self._secrets else {}),
        }

    def _bind_address(self, key: str) -> Address | None:
        if not (text := self._central.text(key)):
            return None
        try:
            where = host_and_port(text, WRITE_IT)
        except ValueError as error:
            why = str(error)
        else:
            bare = ":" in where[0] and not text.startswith("[")
            why = f"IPv6 goes in brackets; {WRITE_IT}" if bare else ""
            why = why or self._claim(where, f"the listener of {key}")
            if not why:
                return where
        self._central.leave_out(key, f"{shown(text)}: {why}")
        return None

    def _claim(self, where: Address, what: str) -> str:
        """Take an address; return what it is taken by, empty: it was free."""
        if collide(where, self._admin):
            return f"{host_port(*where)} is taken by Envoy's admin interface"
        if where in self._bound:
            return f"{host_port(*where)} is taken by {self._bound[where]}"
        if where[1]:
            self._bound[where] = what
        return ""


def collide(one: Address, other: Address) -> bool:
    """Whether Envoy's admin interface and a listener cannot have these addresses."""
    if one[1] != other[1]:
        return False
    first, second = ip_address(one[0]), ip_address(other[0])
    return first.version == second.version and (
        first == second or first.is_unspecified or second.is_unspecified
    )
