"""The seams. Implement one of these to use your own part instead of ours.

Nothing here does I/O. Our parts implement them in `servers/`, `dns/`, `tokens/`,
`proxies/`, `kernel/` and `envoy/`; in-memory ones for tests are in
`consul_ebpf.testing`.
"""

from consul_ebpf.model.seams.consul import (
    Acl,
    Health,
    HealthProbe,
    Rechecks,
    ServerSource,
)
from consul_ebpf.model.seams.kernel import Applied, Doomed, MapBackend, Namespaces
from consul_ebpf.model.seams.proxies import (
    BootstrapRenderer,
    Lacks,
    Noting,
    WorkloadSource,
)

__all__ = [
    "Acl",
    "Applied",
    "BootstrapRenderer",
    "Doomed",
    "Health",
    "HealthProbe",
    "Lacks",
    "MapBackend",
    "Namespaces",
    "Noting",
    "Rechecks",
    "ServerSource",
    "WorkloadSource",
]
