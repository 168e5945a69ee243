"""The kernel's side of this host, its proxies, and the runner with all around it."""

import socket
from ipaddress import IPv4Network
from pathlib import Path

from consul_ebpf.base.reading import PLAIN, Reader
from consul_ebpf.client.http import Https
from consul_ebpf.client.token import TokenSource
from consul_ebpf.config.dns import reserved
from consul_ebpf.config.schema import Config
from consul_ebpf.controller.dns import DnsService
from consul_ebpf.controller.runner import Runner
from consul_ebpf.envoy.files import BootstrapFiles
from consul_ebpf.kernel import privileges
from consul_ebpf.kernel.backend import BccMapBackend
from consul_ebpf.kernel.namespaces import HelperNamespaces
from consul_ebpf.model.addresses import parse_endpoint
from consul_ebpf.model.answers import Missing
from consul_ebpf.model.seams import MapBackend, Namespaces, WorkloadSource
from consul_ebpf.proxies.memory import VipMemory
from consul_ebpf.proxies.sources.admins import AdminMemory, AdminWorkloads
from consul_ebpf.proxies.sources.catalog import CatalogNodes
from consul_ebpf.proxies.sources.directory import DirectoryWorkloads
from consul_ebpf.proxies.sources.merged import MergedWorkloads
from consul_ebpf.proxies.sources.static import StaticWorkloads
from consul_ebpf.proxies.vips import VipRange
from consul_ebpf.wiring.consul import Parts
from consul_ebpf.wiring.dns import dns_service
from consul_ebpf.wiring.files import (
    bootstrap_files,
    known_servers,
    problem_file,
    renderer,
)


def open_backend(config: Config) -> BccMapBackend:
    """Load, attach and open the tables; see `BccMapBackend.open` for what it raises."""
    kernel = config.kernel
    return BccMapBackend.open(
        cgroup=kernel.cgroup,
        bpffs=kernel.bpffs,
        vip_cidr=kernel.vip_cidr,
        vip_port=kernel.vip_port,
        retry_window=kernel.retry_window,
        max_proxies=kernel.max_proxies,
    )


def open_namespaces(config: Config) -> HelperNamespaces:
    """Start the helper, which keeps the privileges that this process gives up."""
    kept = privileges.of_helper(destroy_sockets=config.kernel.destroy_sockets)
    return HelperNamespaces.start(kept)


def build_runner(
    config: Config,
    backend: BccMapBackend,
    namespaces: Namespaces | None = None,
    registered: WorkloadSource | None = None,
    *,
    dns: MapBackend | Missing | None = None,
    files: BootstrapFiles | None = None,
    reader: Reader = PLAIN,
) -> Runner:
    """Wire everything around an opened backend.

    Args:
        config: the whole.
        backend: the opened tables.
        namespaces: looks into the proxies' network namespaces.
        registered: the proxies of the local endpoint.
        dns: its opened tables; `Missing`: why there are none; None: it is off.
        files: where bootstraps are written; None: made here.
        reader: reads the tokens' files.
    """
    directory = Path(config.bootstrap.directory)
    known = known_servers(config)
    parts = Parts(config, reader)
    resumed = known.resume(backend.read().table)
    pool, seed = parts.server_pool(resumed), host_seed()
    cuts = namespaces if config.kernel.destroy_sockets else None
    names: DnsService | None = None
    if isinstance(dns, Missing):
        parts.cells.dns_missing.set(dns.why)
    elif dns is not None:
        names = dns_service(
            config, parts, pool, dns, resumed, seed=seed, namespaces=cuts
        )
    return Runner(
        pool=pool,
        workloads=workload_source(
            config,
            parts.keeper.host_token,
            parts.https,
            directory=directory,
            registered=registered,
        ),
        backend=backend,
        renderer=renderer(config),
        files=files or bootstrap_files(config),
        memory=VipMemory(directory),
        known=known,
        problems=problem_file(config),
        vips=vip_range(config),
        seed=seed,
        keeper=parts.keeper,
        central=parts.central(),
        tls=None if config.consul.tls.disabled else parts.tls.material,
        namespaces=namespaces,
        destroy_sockets=config.kernel.destroy_sockets,
        cells=parts.cells,
        dns=names,
    )


def vip_range(config: Config) -> VipRange:
    """Return the VIPs that there are."""
    kernel = config.kernel
    network = IPv4Network(kernel.vip_cidr)
    return VipRange(network, kernel.vip_port, reserved(config.dns))


def host_seed() -> str:
    """Return what tells this host from others: its machine id and its name.

    Cloned machines may share the id, and hosts of a template the name.
    """
    try:
        machine = Path("/etc/machine-id").read_text(encoding="ascii").strip()
    except OSError:
        machine = ""
    return f"{machine}/{socket.gethostname()}"


def workload_source(
    config: Config,
    token: TokenSource,
    https: Https,
    *,
    directory: Path | None = None,
    registered: WorkloadSource | None = None,
) -> WorkloadSource:
    """Make the sources of `[[proxies]]` and `[workloads]`, merged, as preferred.

    Args:
        config: the whole.
        token: for the catalog, asked for at each query.
        https: how to verify https addresses.
        directory: where the last known proxies are kept; only the controller, not a
            command that looks, writes there.
        registered: those of the local endpoint.
    """
    sources: list[WorkloadSource] = [
        StaticWorkloads(config.proxies, default=config.consul.credentials)
    ]
    if config.workloads.directory:
        sources.append(
            DirectoryWorkloads(
                Path(config.workloads.directory),
                config.consul.credentials,
                state=Path(config.bootstrap.directory),
                writes=directory is not None,
            )
        )
    if registered is not None:
        sources.append(registered)
    if config.workloads.catalog_nodes:
        sources.append(
            CatalogNodes(
                config.consul.http_addresses,
                config.workloads.catalog_nodes,
                datacenter=config.consul.datacenter,
                token=token,
                https=https,
                directory=directory,
            )
        )
    return AdminWorkloads(
        MergedWorkloads(sources),
        AdminMemory(Path(config.bootstrap.directory), writes=directory is not None),
        parse_endpoint(config.envoy.admin),
        {name: parse_endpoint(text) for name, text in config.workloads.admins.items()},
    )
