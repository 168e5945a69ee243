"""The values that flow between the parts: discover -> plan -> program -> render.

They are frozen and do no I/O, so that each decision is a function over them. A part
hands on a whole value, never a change. `servers.py` has what the sources of servers and
the pool say, `proxies.py` and `telemetry.py` the same of proxies, `pods.py` of pods'
volumes, `tables.py` what the kernel holds.
"""

from consul_ebpf.model.values.pods import VOLUMES_FILE, PluginState, PodVolume
from consul_ebpf.model.values.proxies import (
    BootstrapParams,
    Credentials,
    HostProxies,
    Login,
    PlacedProxy,
    Proxy,
    ProxyFiles,
    Vip,
)
from consul_ebpf.model.values.servers import (
    DNS_NAME,
    GRPC,
    MAX_SERVERS,
    Endpoint,
    PooledServer,
    Server,
    ServerState,
    Service,
    host_port,
)
from consul_ebpf.model.values.tables import (
    MAX_CHOICES,
    Binding,
    KernelState,
    Preference,
    ServerCounters,
    SlottedServer,
    Table,
    VipCounters,
)
from consul_ebpf.model.values.telemetry import Prometheus, ProxyTelemetry

__all__ = [
    "DNS_NAME",
    "GRPC",
    "MAX_CHOICES",
    "MAX_SERVERS",
    "VOLUMES_FILE",
    "Binding",
    "BootstrapParams",
    "Credentials",
    "Endpoint",
    "HostProxies",
    "KernelState",
    "Login",
    "PlacedProxy",
    "PluginState",
    "PodVolume",
    "PooledServer",
    "Preference",
    "Prometheus",
    "Proxy",
    "ProxyFiles",
    "ProxyTelemetry",
    "Server",
    "ServerCounters",
    "ServerState",
    "Service",
    "SlottedServer",
    "Table",
    "Vip",
    "VipCounters",
    "host_port",
]
