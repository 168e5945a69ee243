"""Consul's service mesh without a consul-dataplane beside every Envoy.

The parts, to embed in a program of your own (examples/ has one for each)::

    from consul_ebpf import CatalogSource, GrpcProbe, ServerPool

    pool = ServerPool(CatalogSource(["http://127.0.0.1:8500"]), GrpcProbe())
    async for servers in pool:
        print([(each.server.endpoint, each.state.value) for each in servers])

Importing this package imports nothing but the standard library; a part's own
dependencies come with the part, when its name is first used.
"""

import importlib

TYPE_CHECKING = False  # typing's own weighs 2 MB, in a child that needs no more of it
if TYPE_CHECKING:
    from typing import Any

    from consul_ebpf.controller.outcomes import Converged
    from consul_ebpf.controller.runner import Runner
    from consul_ebpf.dns.probe import DnsProbe
    from consul_ebpf.envoy.bootstrap import EnvoyBootstrap
    from consul_ebpf.envoy.files import BootstrapFiles
    from consul_ebpf.kernel.backend import BccMapBackend
    from consul_ebpf.model.errors import (
        AlreadyRunningError,
        BpffsError,
        CgroupError,
        ConfigError,
        ConsulEbpfError,
        ConsulError,
        InvalidProxyError,
        KernelError,
        KernelFeatureError,
        LoaderError,
        NotRunningError,
        PrivilegeError,
        TableFullError,
        UnsupportedError,
    )
    from consul_ebpf.model.lifetime import FOREVER, UNKNOWN, Lifetime
    from consul_ebpf.model.seams import (
        Acl,
        Applied,
        BootstrapRenderer,
        Doomed,
        Health,
        HealthProbe,
        Lacks,
        MapBackend,
        Namespaces,
        Noting,
        Rechecks,
        ServerSource,
        WorkloadSource,
    )
    from consul_ebpf.model.values import (
        GRPC,
        Binding,
        BootstrapParams,
        Credentials,
        KernelState,
        Login,
        PlacedProxy,
        PooledServer,
        Preference,
        Prometheus,
        Proxy,
        ProxyFiles,
        ProxyTelemetry,
        Server,
        ServerState,
        Service,
        SlottedServer,
        Table,
        Vip,
    )
    from consul_ebpf.planning.plan import plan
    from consul_ebpf.planning.slots import assign_slots
    from consul_ebpf.servers.pool import PoolSettings, ServerPool
    from consul_ebpf.servers.probe import GrpcProbe
    from consul_ebpf.servers.sources.catalog import CatalogSource

__all__ = [  # noqa: RUF022  # grouped as a reader looks for them
    # the parts
    "BccMapBackend",
    "BootstrapFiles",
    "CatalogSource",
    "DnsProbe",
    "EnvoyBootstrap",
    "GrpcProbe",
    "PoolSettings",
    "Runner",
    "ServerPool",
    "assign_slots",
    "plan",
    # the seams
    "Acl",
    "BootstrapRenderer",
    "HealthProbe",
    "Lacks",
    "MapBackend",
    "Namespaces",
    "Noting",
    "Rechecks",
    "ServerSource",
    "WorkloadSource",
    # the values
    "Applied",
    "Binding",
    "BootstrapParams",
    "Converged",
    "Credentials",
    "Doomed",
    "FOREVER",
    "GRPC",
    "Health",
    "KernelState",
    "Lifetime",
    "Login",
    "PlacedProxy",
    "PooledServer",
    "Preference",
    "Prometheus",
    "Proxy",
    "ProxyFiles",
    "ProxyTelemetry",
    "Server",
    "ServerState",
    "Service",
    "SlottedServer",
    "Table",
    "UNKNOWN",
    "Vip",
    # the errors
    "AlreadyRunningError",
    "BpffsError",
    "CgroupError",
    "ConfigError",
    "ConsulEbpfError",
    "ConsulError",
    "InvalidProxyError",
    "KernelError",
    "KernelFeatureError",
    "LoaderError",
    "NotRunningError",
    "PrivilegeError",
    "TableFullError",
    "UnsupportedError",
]

_LIGHT = ("model.errors", "model.lifetime", "model.seams", "model.values")
_PARTS = {
    "BccMapBackend": "kernel.backend",
    "BootstrapFiles": "envoy.files",
    "CatalogSource": "servers.sources.catalog",
    "Converged": "controller.outcomes",
    "DnsProbe": "dns.probe",
    "EnvoyBootstrap": "envoy.bootstrap",
    "GrpcProbe": "servers.probe",
    "PoolSettings": "servers.pool",
    "Runner": "controller.runner",
    "ServerPool": "servers.pool",
    "assign_slots": "planning.slots",
    "plan": "planning.plan",
}


def __getattr__(name: str) -> "Any":
    """Import the module a public name lives in, when it is first asked for."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    modules = (_PARTS[name],) if name in _PARTS else _LIGHT
    for module in modules:
        loaded = importlib.import_module(f"{__name__}.{module}")
        if hasattr(loaded, name):
            return getattr(loaded, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
