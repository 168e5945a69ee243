"""Envoy's bootstrap for a proxy as JSON-ready data, one function for each part.

It has what consul-dataplane's bootstrap has, and what Envoy needs because it connects
to the Consul servers itself.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from types import MappingProxyType
from typing import Any

from consul_ebpf.envoy.central import Central, access_logs
from consul_ebpf.envoy.notes import Notes
from consul_ebpf.envoy.parts import Address, Part, extension, socket_address
from consul_ebpf.envoy.places import as_seen, in_container
from consul_ebpf.envoy.raw_json import unfit
from consul_ebpf.envoy.shapes import wrong_stats_config, wrong_tracing
from consul_ebpf.envoy.sinks import collector_cluster, flush_interval, stats_sinks
from consul_ebpf.envoy.static_resources import StaticResources, collide
from consul_ebpf.envoy.stats_tags import stats_config
from consul_ebpf.envoy.tls import XdsTls, transport_socket
from consul_ebpf.envoy.xds import dynamic_resources, xds_cluster
from consul_ebpf.model.errors import InvalidProxyError
from consul_ebpf.model.names import check_proxy, named, shown
from consul_ebpf.model.values import (
    BootstrapParams,
    PlacedProxy,
    Proxy,
    ProxyTelemetry,
    host_port,
)

_USUAL = ProxyTelemetry()


class EnvoyBootstrap:
    """Renders bootstraps like consul-dataplane's, for a direct connection.

    Implements `BootstrapRenderer` and `Noting`.

    Args:
        admin: IP address and port of Envoy's admin interface, for proxies that name
            none; the default is consul-dataplane's.
        ready: the same for a listener that serves only /ready; None: there is none.
        datacenter: the metrics' label, where Consul does not say it; empty: no label.
        token_file: returns the path of a proxy's token file (`envoy.token`), which must
            be there before Envoy starts. None, here or returned: Envoy sends no token.
        tls: how Envoy does TLS with the servers; None: plaintext.
        telemetry: how Envoy tells of itself, for proxies that do not say.
        env: the variables that `$NAME` in central configuration stands for, unless a
            proxy has its own or its Envoy is in a container.
    """

    def __init__(
        self,
        *,
        admin: Address = ("127.0.0.1", 19000),
        ready: Address | None = None,
        datacenter: str = "",
        token_file: Callable[[Proxy], Path | None] | None = None,
        tls: XdsTls | None = None,
        telemetry: ProxyTelemetry = _USUAL,
        env: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._admin = admin
        self._ready = ready
        self._datacenter = datacenter
        self._token_file = token_file
        self._tls = tls
        self._telemetry = telemetry
        self._env = env
        self._noted: tuple[PlacedProxy, BootstrapParams | None, Notes] | None = None
        """What was rendered last: `notes` is mostly called right afterwards."""

    def __repr__(self) -> str:
        return f"<EnvoyBootstrap {'TLS' if self._tls else 'plaintext'}>"

    def render(
        self, placed: PlacedProxy, params: BootstrapParams | None = None
    ) -> Mapping[str, Any]:
        """Return the bootstrap as JSON-ready data.

        What Consul says (`params`) takes precedence over the proxy's own entry. Of it,
        values that cannot be used are left out; `notes` names them.

        Raises:
            InvalidProxyError: the proxy has a value that no bootstrap may hold, or a
                key of central configuration must hold JSON and does not.
        """
        notes = Notes()
        bootstrap = self._render(placed, params or BootstrapParams(), notes)
        self._noted = placed, params, notes
        return bootstrap

    def notes(
        self, placed: PlacedProxy, params: BootstrapParams | None = None
    ) -> tuple[str, ...]:
        """Return a line for each value that `render` leaves out of this bootstrap.

        Raises:
            InvalidProxyError: as `render` does.
        """
        noted = self._noted
        if noted is None or noted[0] is not placed or noted[1] is not params:
            self.render(placed, params)
            noted = self._noted
        return noted[2].lines if noted else ()

    def _render(
        self, placed: PlacedProxy, params: BootstrapParams, notes: Notes
    ) -> Part:
        proxy = placed.proxy
        check_proxy(proxy)
        if not proxy.id:
            raise InvalidProxyError(
                f"{named(proxy)}: it has no id: render it once Consul knows it"
            )
        if proxy.conflict:
            raise InvalidProxyError(f"proxy {shown(proxy.name)}: {proxy.conflict}")
        params = _completed(proxy, params, self._datacenter, notes)
        telemetry = proxy.telemetry or self._telemetry
        config = params.config if telemetry.use_central_config else {}
        central = Central(config, f"proxy {shown(proxy.name)}", notes)
        where = _endpoint(proxy, "admin", proxy.admin or self._admin)
        static = self._static(placed, central, where)
        static.add_listeners(telemetry.prometheus)
        collector = collector_cluster(central, params.namespace, proxy)
        if collector is not None:
            static.add_cluster(collector)
        static.add_extras()
        tracing = central.object("envoy_tracing_json", wrong_tracing)
        own_stats = central.object("envoy_stats_config_json", wrong_stats_config)
        tags = central.texts("envoy_stats_tags")
        # In a container the controller's variables would be another's, or secrets.
        env = dict(proxy.env) if proxy.env or in_container(proxy) else self._env
        sinks = stats_sinks(central, env, collector=collector is not None)
        flush = flush_interval(central)
        return {
            "admin": admin(where, access_logs(params.access_logs, notes)),
            "node": node(proxy, params),
            "layered_runtime": layered_runtime(),
            "static_resources": static.part(),
            **({"stats_sinks": sinks} if sinks else {}),
            "stats_config": stats_config(proxy, params, tags)
            if own_stats is None
            else own_stats,
            **({"stats_flush_interval": flush} if flush else {}),
            **({"tracing": tracing} if tracing is not None else {}),
            "dynamic_resources": dynamic_resources(),
        }

    def _static(
        self, placed: PlacedProxy, central: Central, where: Address
    ) -> StaticResources:
        """Begin `static_resources`; `where` is Envoy's admin interface."""
        proxy = placed.proxy
        token_file = self._token_file(proxy) if self._token_file else None
        if token_file is not None:
            token_file = as_seen(proxy, token_file)
        xds = xds_cluster(placed.vip, token_file)
        if self._tls is not None:
            xds["transport_socket"] = transport_socket(self._tls, proxy)
        ready = proxy.ready or self._ready
        ready = _endpoint(proxy, "ready", ready) if ready else None
        if ready and collide(ready, where):
            raise InvalidProxyError(
                f"proxy {shown(proxy.name)}: ready {host_port(*ready)} is taken by"
                " Envoy's admin interface; give it another port"
            )
        return StaticResources(central, where, ready, xds)


def _completed(
    proxy: Proxy, params: BootstrapParams, datacenter: str, notes: Notes
) -> BootstrapParams:
    """Return the params, with what Consul does not say taken from the proxy's entry."""

    def said(what: str, instead: str) -> str:
        text: str = getattr(params, what)
        if wrong := unfit(text):
            notes.leave_out_of_params(f"the {what}", wrong)
            text = ""
        return text or instead

    return replace(
        params,
        identity=said("identity", proxy.service),
        namespace=said("namespace", proxy.namespace),
        partition=said("partition", proxy.partition),
        datacenter=said("datacenter", datacenter),
        node_name=said("node_name", proxy.node),
    )


def _endpoint(proxy: Proxy, what: str, where: Address) -> Address:
    """Return where Envoy itself is to listen, as Envoy writes it.

    Raises:
        InvalidProxyError: that is no address and port.
    """
    host, port = where
    try:
        address = str(ip_address(host))
    except ValueError:
        raise InvalidProxyError(
            f"proxy {shown(proxy.name)}: {what} address {shown(host)} is not an IP"
            " address"
        ) from None
    if not 0 < port < 65536:
        raise InvalidProxyError(
            f"proxy {shown(proxy.name)}: {what} port {port} is not between 1 and 65535"
        )
    return address, port


def admin(where: Address, logs: Sequence[Part]) -> Part:
    """Return `admin`: Envoy logs its accesses as proxy-defaults say, else nowhere."""
    nowhere = extension(
        "envoy.access_loggers.file",
        "extensions.access_loggers.file.v3.FileAccessLog",
        path="/dev/null",
    )
    return {"access_log": list(logs) or [nowhere], "address": socket_address(*where)}


def node(proxy: Proxy, params: BootstrapParams) -> Part:
    """Return `node`: a Consul server finds the proxy by `id` and `node_name`."""
    metadata = {
        "node_name": params.node_name,
        "namespace": params.namespace,
        "partition": params.partition,
    }
    return {
        "cluster": params.identity or proxy.id,
        "id": proxy.id,
        "metadata": {key: value for key, value in metadata.items() if value},
    }


def layered_runtime() -> Part:
    """Return `layered_runtime`: it makes room for large regexes in Consul's routes."""
    layer = {"re2.max_program_size.error_level": 1048576}
    return {"layers": [{"name": "base", "static_layer": layer}]}
