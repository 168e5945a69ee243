"""The kernel's side of this host, and the runner with everything around it."""

import socket
from ipaddress import IPv4Network
from pathlib import Path
from typing import TYPE_CHECKING

from consul_ebpf.config.schema import Config
from consul_ebpf.kernel.backend import BccMapBackend
from consul_ebpf.model.seams import Namespaces, WorkloadSource
from consul_ebpf.wiring.consul import Parts
from consul_ebpf.wiring.files import bootstrap_files, known_servers, renderer
from consul_ebpf.wiring.proxies import workload_source

if TYPE_CHECKING:
    from consul_ebpf.controller.runner import Runner


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


def open_namespaces() -> Namespaces:
    """Start the helper that keeps the privileges for network namespaces."""
    from consul_ebpf.kernel.namespaces import HelperNamespaces  # noqa: PLC0415

    return HelperNamespaces.start()


def build_runner(
    config: Config,
    backend: BccMapBackend,
    namespaces: Namespaces | None = None,
    registered: WorkloadSource | None = None,
) -> "Runner":
    """Wire everything around an opened backend."""
    from consul_ebpf.controller.runner import Runner  # noqa: PLC0415
    from consul_ebpf.proxies.memory import VipMemory  # noqa: PLC0415

    directory = Path(config.bootstrap.directory)
    known = known_servers(config)
    parts = Parts(config)
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
        files=bootstrap_files(config),
        memory=VipMemory(directory),
        known=known,
        network=IPv4Network(config.kernel.vip_cidr),
        port=config.kernel.vip_port,
        seed=host_seed(),
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
