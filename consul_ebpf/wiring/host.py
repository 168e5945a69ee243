"""Makes the kernel's side, the sources of proxies, and the runner with its parts."""

import socket
from ipaddress import IPv4Network
from pathlib import Path

from consul_ebpf.client.token import TokenSource
from consul_ebpf.client.transport import Https
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
    """Load and attach the program, and open its tables.

    `BccMapBackend.open` says what it raises.
    """
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
    """Start the helper process, which keeps privileges that this process gives up."""
    kept = privileges.of_helper(destroy_sockets=config.kernel.destroy_sockets)
    mounts = config.kubernetes.enabled and config.kubernetes.volumes == "tmpfs"
    directory = config.kubernetes.kubelet_directory if mounts else ""
    return HelperNamespaces.start(kept, directory)


def build_runner(
    config: Config,
    backend: BccMapBackend,
    namespaces: Namespaces | None = None,
    registered: WorkloadSource | None = None,
    *,
    dns: MapBackend | Missing | None = None,
    files: BootstrapFiles | None = None,
    parts: Parts | None = None,
    pods: WorkloadSource | None = None,
) -> Runner:
    """Make the runner and all its parts around an opened backend.

    Args:
        config: the whole configuration.
        backend: the opened tables.
        namespaces: reaches into the proxies' network namespaces.
        registered: the proxies registered at the local endpoint.
        dns: the opened tables of DNS; `Missing`: why there are none; None: DNS is off.
        files: where bootstraps are written; None: made here.
        parts: what asks Consul; None: made here.
        pods: the proxies of the pods' volumes.
    """
    directory = Path(config.bootstrap.directory)
    known = known_servers(config)
    parts = parts or Parts(config)
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
            pods=pods,
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
    """Return the VIPs that proxies can have."""
    kernel = config.kernel
    network = IPv4Network(kernel.vip_cidr)
    return VipRange(network, kernel.vip_port, reserved(config))


def host_seed() -> str:
    """Return what differs on each host: its machine id and its name together.

    Cloned machines may have the same id, and hosts of a template the same name.
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
    pods: WorkloadSource | None = None,
) -> WorkloadSource:
    """Make one source of all proxies, of several in order of preference.

    Args:
        config: the whole configuration.
        token: returns the ACL token for a query of the catalog.
        https: how to verify https addresses.
        directory: where the last known proxies are kept; None: nothing is written, for
            a command that only looks.
        registered: the proxies registered at the local endpoint.
        pods: the proxies of the pods' volumes.
    """
    sources: list[WorkloadSource] = [
        StaticWorkloads(config.proxies, default=config.consul.credentials)
    ]
    if config.workloads.directory:
        # Memory that other hosts do not need: 1.4 MB.
        from consul_ebpf.proxies.sources.directory import (  # noqa: PLC0415
            DirectoryWorkloads,
        )

        sources.append(
            DirectoryWorkloads(
                Path(config.workloads.directory),
                config.consul.credentials,
                state=Path(config.bootstrap.directory),
                writes=directory is not None,
            )
        )
    sources += [each for each in (registered, pods) if each is not None]
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
