"""From a configuration to the parts: the one place that knows which part is which.

`consul.py` makes what asks Consul, `proxies.py` the sources of proxies, `files.py` what
is written and read on this host, `host.py` the kernel's side and the whole runner.
Parts are imported as they are needed: `consul` and `grpc` cost memory and time that the
commands which only look do not need.
"""

from consul_ebpf.wiring.consul import Parts, server_name
from consul_ebpf.wiring.files import (
    api_socket,
    bootstrap_files,
    event_counts,
    gatherer,
    known_servers,
    problem_file,
    renderer,
)
from consul_ebpf.wiring.host import (
    build_runner,
    closed_files,
    host_seed,
    open_backend,
    open_namespaces,
)
from consul_ebpf.wiring.proxies import registered_workloads, workload_source

__all__ = [
    "Parts",
    "api_socket",
    "bootstrap_files",
    "build_runner",
    "closed_files",
    "event_counts",
    "gatherer",
    "host_seed",
    "known_servers",
    "open_backend",
    "open_namespaces",
    "problem_file",
    "registered_workloads",
    "renderer",
    "server_name",
    "workload_source",
]
