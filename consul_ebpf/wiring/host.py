"""The kernel's side of this host, and the runner with everything around it."""

import socket
from ipaddress import IPv4Network
from pathlib import Path
from typing import TYPE_CHECKING

from consul_ebpf.base.reading import PLAIN, Reader
from consul_ebpf.config import dns
from consul_ebpf.config.schema import Config
from consul_ebpf.envoy.files import BootstrapFiles
from consul_ebpf.kernel import privileges
from consul_ebpf.kernel.backend import BccMapBackend
from consul_ebpf.model.seams import Namespaces, WorkloadSource
from consul_ebpf.wiring.consul import Parts
from consul_ebpf.wiring.files import (
    bootstrap_files,
    known_servers,
    problem_file,
    renderer,
)
from consul_ebpf.wiring.proxies import workload_source

if TYPE_CHECKING:
    from consul_ebpf.controller.runner import Runner
    from consul_ebpf.kernel.namespaces import HelperNamespaces


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


def open_namespaces(config: Config) -> "HelperNamespaces":
    """Start the helper, which keeps the privileges that this process gives up."""
    from consul_ebpf.kernel.namespaces import HelperNamespaces  # noqa: PLC0415

    kept = privileges.of_helper(destroy_sockets=config.kernel.destroy_sockets)
    return HelperNamespaces.start(kept)


def closed_files(namespaces: "HelperNamespaces") -> Reader:
    """Make what reads files that may be another user's."""
    from consul_ebpf.kernel.closed_files import ClosedFiles  # noqa: PLC0415

    return ClosedFiles(namespaces.helper)


def build_runner(
    config: Config,
    backend: BccMapBackend,
    namespaces: Namespaces | None = None,
    registered: WorkloadSource | None = None,
    *,
    files: BootstrapFiles | None = None,
    reader: Reader = PLAIN,
) -> "Runner":
    """Wire everything around an opened backend.

    Args:
        config: the whole.
        backend: the opened tables.
        namespaces: looks into the proxies' network namespaces.
        registered: the proxies of the local endpoint.
        files: where bootstraps are written; None: made here.
        reader: reads the tokens' files.
    """
    from consul_ebpf.controller.runner import Runner  # noqa: PLC0415
    from consul_ebpf.proxies.memory import VipMemory  # noqa: PLC0415

    directory = Path(config.bootstrap.directory)
    known = known_servers(config)
    parts = Parts(config, reader)
    return Runner(
        pool=parts.server_pool(known.resume(backend.read().table)),
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
        network=IPv4Network(config.kernel.vip_cidr),
        port=config.kernel.vip_port,
        reserved=dns.reserved(config.dns),
        seed=host_seed(),
        cells=parts.cells,
        keeper=parts.keeper,
        central=parts.central(),
        tls=None if config.consul.tls.disabled else parts.tls.material,
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
