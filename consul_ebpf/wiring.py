"""From a configuration to the parts: the one place that knows which part is which.

Imports the parts as it needs them: `consul` and `grpc` cost memory and time that the
commands which only look do not need.
"""

import grp
import os
import pwd
import socket
from collections.abc import Callable, Iterable
from ipaddress import IPv4Network
from pathlib import Path
from typing import TYPE_CHECKING

from consul_ebpf._errors import ConfigError
from consul_ebpf._event_counts import EventCounts
from consul_ebpf._protocols import (
    BootstrapRenderer,
    Namespaces,
    ServerSource,
    WorkloadSource,
)
from consul_ebpf._values import PooledServer
from consul_ebpf.config.endpoints import parse_endpoint
from consul_ebpf.config.schema import Config, Credentials
from consul_ebpf.envoy.bootstrap import EnvoyBootstrap
from consul_ebpf.envoy.files import BootstrapFiles
from consul_ebpf.kernel.backend import BccMapBackend

if TYPE_CHECKING:
    from consul_ebpf.discovery.known import KnownServers
    from consul_ebpf.discovery.pool import ServerPool
    from consul_ebpf.runner import Runner

TokenSource = Callable[[], str | None]


def open_backend(config: Config) -> BccMapBackend:
    """Load, attach and open the tables; see `BccMapBackend.open` for what it raises."""
    kernel = config.kernel
    return BccMapBackend.open(
        cgroup=kernel.cgroup,
        bpffs=kernel.bpffs,
        vip_cidr=kernel.vip_cidr,
        retry_window=kernel.retry_window,
        max_proxies=kernel.max_proxies,
    )


def token_source(credentials: Credentials) -> TokenSource | None:
    """Return where the ACL token comes from, None if there is none."""
    from consul_ebpf.discovery.token import StaticToken, TokenFile  # noqa: PLC0415

    if credentials.token_file:
        return TokenFile(credentials.token_file)
    return StaticToken(credentials.token) if credentials.token else None


def server_source(config: Config) -> ServerSource:
    """Make the source named by `consul.source`."""
    from consul_ebpf.discovery.static import StaticSource  # noqa: PLC0415

    consul = config.consul
    if consul.source == "static":
        return StaticSource(consul.addresses, consul.grpc_port)
    from consul_ebpf.discovery.catalog import CatalogSource  # noqa: PLC0415
    from consul_ebpf.discovery.token import no_token  # noqa: PLC0415

    return CatalogSource(
        consul.http_addresses,
        datacenter=consul.datacenter,
        token=token_source(consul.credentials) or no_token,
        grpc_port=consul.grpc_port,
    )


def known_servers(config: Config) -> "KnownServers":
    """Make the file of the last known servers, tied to the configured cluster."""
    from consul_ebpf.discovery.known import KnownServers, cluster_key  # noqa: PLC0415

    consul = config.consul
    directory = (
        config.state.directory
        or os.environ.get("STATE_DIRECTORY", "").partition(":")[0]
        or config.bootstrap.directory
    )
    return KnownServers(
        Path(directory),
        cluster_key(
            consul.source, consul.datacenter, consul.http_addresses, consul.addresses
        ),
        IPv4Network(config.kernel.vip_cidr),
    )


def server_pool(config: Config, known: Iterable[PooledServer] = ()) -> "ServerPool":
    """Make the pool: the configured source, probed over gRPC."""
    from consul_ebpf.discovery.pool import PoolSettings, ServerPool  # noqa: PLC0415
    from consul_ebpf.discovery.probe import GrpcProbe  # noqa: PLC0415

    probe = config.probe
    return ServerPool(
        server_source(config),
        GrpcProbe(timeout=probe.timeout),
        settings=PoolSettings(
            interval=probe.interval,
            rise=probe.rise,
            fall=probe.fall,
            vip_network=IPv4Network(config.kernel.vip_cidr),
        ),
        known=known,
    )


def workload_source(config: Config, *, directory: Path | None = None) -> WorkloadSource:
    """Make the sources of `[[proxies]]` and `[workloads]`, merged.

    `directory` is where the catalog's last known proxies are kept; only the
    controller, not a command that looks, writes there.
    """
    from consul_ebpf.workloads.merge import MergedWorkloads  # noqa: PLC0415
    from consul_ebpf.workloads.static import StaticWorkloads  # noqa: PLC0415

    sources: list[WorkloadSource] = [StaticWorkloads(config.proxies)]
    if config.workloads.directory:
        from consul_ebpf.workloads.directory import DirectoryWorkloads  # noqa: PLC0415

        sources.append(DirectoryWorkloads(Path(config.workloads.directory)))
    if config.workloads.catalog_nodes:
        from consul_ebpf.workloads.catalog_nodes import CatalogNodes  # noqa: PLC0415

        sources.append(
            CatalogNodes(
                config.consul.http_addresses,
                config.workloads.catalog_nodes,
                datacenter=config.consul.datacenter,
                token=token_source(config.consul.credentials),
                directory=directory,
            )
        )
    return MergedWorkloads(sources)


def bootstrap_files(config: Config) -> BootstrapFiles:
    """Make the writer of `[bootstrap] directory`."""
    bootstrap = config.bootstrap
    return BootstrapFiles(Path(bootstrap.directory), owner=_owner(bootstrap.owner))


def renderer(config: Config) -> BootstrapRenderer:
    """Make the renderer of bootstraps, with the token's file if there is a token."""
    has_token = token_source(config.consul.credentials) is not None
    return EnvoyBootstrap(
        admin=_endpoint(config.envoy.admin),
        datacenter=config.consul.datacenter,
        token_file=bootstrap_files(config).token_path if has_token else None,
    )


def event_counts(config: Config) -> EventCounts:
    """Make the file of what the controller met, beside the bootstraps."""
    return EventCounts(Path(config.bootstrap.directory))


def open_namespaces() -> Namespaces:
    """Start the helper that keeps the privileges for network namespaces."""
    from consul_ebpf.kernel.namespaces import HelperNamespaces  # noqa: PLC0415

    return HelperNamespaces.start()


def build_runner(
    config: Config, backend: BccMapBackend, namespaces: Namespaces | None = None
) -> "Runner":
    """Wire everything around an opened backend."""
    from consul_ebpf.runner import Runner  # noqa: PLC0415
    from consul_ebpf.workloads.memory import VipMemory  # noqa: PLC0415

    directory = Path(config.bootstrap.directory)
    known = known_servers(config)
    return Runner(
        pool=server_pool(config, known.resume(backend.read().table)),
        workloads=workload_source(config, directory=directory),
        backend=backend,
        renderer=renderer(config),
        files=bootstrap_files(config),
        memory=VipMemory(directory),
        known=known,
        network=IPv4Network(config.kernel.vip_cidr),
        port=config.kernel.vip_port,
        seed=host_seed(),
        token=token_source(config.consul.credentials),
        namespaces=namespaces,
        destroy_sockets=config.kernel.destroy_sockets,
    )


def host_seed() -> str:
    """Return what tells this host from others: its machine id and its name.

    Cloned machines may share the id, and hosts of a template the name.
    """
    try:
        machine = Path("/etc/machine-id").read_text(encoding="ascii").strip()
    except OSError:
        machine = ""
    return f"{machine}/{socket.gethostname()}"


def _endpoint(text: str) -> tuple[str, int]:
    address, port = parse_endpoint(text)
    return str(address), port


def _owner(text: str) -> tuple[int, int] | None:
    """Look up `user` or `user:group`; numbers are taken as they are."""
    if not text:
        return None
    user, _, group = text.partition(":")
    try:
        uid = int(user) if user.isdigit() else pwd.getpwnam(user).pw_uid
        if not group:
            return uid, pwd.getpwuid(uid).pw_gid
        return uid, int(group) if group.isdigit() else grp.getgrnam(group).gr_gid
    except KeyError as error:
        raise ConfigError(
            f"bootstrap.owner {text!r} is not on this host ({error.args[0]}): "
            "create the user or group, or name another"
        ) from error
