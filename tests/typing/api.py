"""Never run, only type-checked: the parts fit the seams."""

from pathlib import Path

from consul_ebpf import (
    BccMapBackend,
    BootstrapRenderer,
    DnsProbe,
    EnvoyBootstrap,
    HealthProbe,
    MapBackend,
    Namespaces,
    ServerPool,
    ServerSource,
    Service,
    WorkloadSource,
)
from consul_ebpf.kernel.namespaces import HelperNamespaces
from consul_ebpf.proxies.sources.catalog import CatalogNodes
from consul_ebpf.proxies.sources.directory import DirectoryWorkloads
from consul_ebpf.proxies.sources.merged import MergedWorkloads
from consul_ebpf.proxies.sources.static import StaticWorkloads
from consul_ebpf.servers.probe import GrpcProbe
from consul_ebpf.servers.sources.catalog import CatalogSource
from consul_ebpf.servers.sources.static import StaticSource
from consul_ebpf.testing import (
    FakeNamespaces,
    FakeProbe,
    FakeServerSource,
    FakeWorkloads,
    MemoryMapBackend,
)

sources: list[ServerSource] = [
    CatalogSource(["http://127.0.0.1:8500"]),
    StaticSource(["10.0.0.1"]),
    FakeServerSource(),
]
probes: list[HealthProbe] = [
    GrpcProbe(),
    DnsProbe(Service("dns", 8600), "consul"),
    FakeProbe(),
]
workloads: list[WorkloadSource] = [
    StaticWorkloads([]),
    DirectoryWorkloads(Path("/x")),
    CatalogNodes(["http://127.0.0.1:8500"], ["node"]),
    FakeWorkloads(),
]
workloads.append(MergedWorkloads(workloads))
backends: list[MapBackend] = [MemoryMapBackend(), BccMapBackend.open()]
namespaces: list[Namespaces] = [FakeNamespaces(), HelperNamespaces.start()]
renderers: list[BootstrapRenderer] = [EnvoyBootstrap()]


async def subscribe(pool: ServerPool) -> list[str]:
    """Somebody's own controller."""
    async for servers in pool:
        return [f"{each.server.endpoint} {each.state.value}" for each in servers]
    return []
