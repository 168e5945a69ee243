"""The configuration's file as values: each key with its default, bounds and meaning.

`consul.py`, `proxies.py`, `host.py` and `kubernetes.py` have the tables by subject;
here is the file.
`load.py` fills them from the file, the environment and flags, and checks them.
"""

from consul_ebpf.config.schema.consul import NO_CREDENTIALS, Consul, Credentials, Tls
from consul_ebpf.config.schema.host import Api, Dns, Kernel, Log, Probe, State
from consul_ebpf.config.schema.kubernetes import Kubernetes, Webhook
from consul_ebpf.config.schema.proxies import (
    Bootstrap,
    Envoy,
    Prometheus,
    ProxyEntry,
    Telemetry,
    Workloads,
)
from consul_ebpf.config.schema.section import Port, Seconds, Section

__all__ = [
    "NO_CREDENTIALS",
    "Api",
    "Bootstrap",
    "Config",
    "Consul",
    "Credentials",
    "Dns",
    "Envoy",
    "Kernel",
    "Kubernetes",
    "Log",
    "Port",
    "Probe",
    "Prometheus",
    "ProxyEntry",
    "Seconds",
    "Section",
    "State",
    "Telemetry",
    "Tls",
    "Webhook",
    "Workloads",
]


class Config(Section, frozen=True):
    """The whole file."""

    consul: Consul = Consul()
    kernel: Kernel = Kernel()
    bootstrap: Bootstrap = Bootstrap()
    state: State = State()
    proxies: list[ProxyEntry] = []
    workloads: Workloads = Workloads()
    envoy: Envoy = Envoy()
    telemetry: Telemetry = Telemetry()
    api: Api = Api()
    probe: Probe = Probe()
    dns: Dns = Dns()
    kubernetes: Kubernetes = Kubernetes()
    webhook: Webhook = Webhook()
    log: Log = Log()
