"""Where this host's proxies come from."""

from pathlib import Path
from typing import TYPE_CHECKING

from consul_ebpf.config.schema import Config
from consul_ebpf.model.addresses import parse_endpoint
from consul_ebpf.model.seams import WorkloadSource

if TYPE_CHECKING:
    from consul_ebpf.client.http import Https
    from consul_ebpf.client.token import TokenSource
    from consul_ebpf.proxies.sources.registered import RegisteredWorkloads


def workload_source(
    config: Config,
    token: "TokenSource",
    https: "Https",
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
    from consul_ebpf.proxies.sources.admins import (  # noqa: PLC0415
        AdminMemory,
        AdminWorkloads,
    )
    from consul_ebpf.proxies.sources.merged import MergedWorkloads  # noqa: PLC0415
    from consul_ebpf.proxies.sources.static import StaticWorkloads  # noqa: PLC0415

    sources: list[WorkloadSource] = [
        StaticWorkloads(config.proxies, default=config.consul.credentials)
    ]
    if config.workloads.directory:
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
    if registered is not None:
        sources.append(registered)
    if config.workloads.catalog_nodes:
        from consul_ebpf.proxies.sources.catalog import (  # noqa: PLC0415
            CatalogNodes,
        )

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
        _endpoint(config.envoy.admin),
        {name: _endpoint(text) for name, text in config.workloads.admins.items()},
    )


def registered_workloads(config: Config) -> "RegisteredWorkloads":
    """Make the proxies that the local endpoint is told of."""
    from consul_ebpf.proxies.sources.registered import RegisteredWorkloads  # noqa: PLC0415

    return RegisteredWorkloads(
        Path(config.bootstrap.directory), config.consul.credentials
    )


def _endpoint(text: str) -> tuple[str, int]:
    address, port = parse_endpoint(text)
    return str(address), port
