"""DNS of one configuration: its tables, the pool of the servers' DNS, its service."""

import logging
from collections.abc import Iterable
from pathlib import Path

from consul_ebpf.base.events import event
from consul_ebpf.config.dns import service_of, vip_of
from consul_ebpf.config.schema import Config
from consul_ebpf.controller.dns import DnsService
from consul_ebpf.kernel.backend import BccMapBackend
from consul_ebpf.kernel.pins import LINGER_SECONDS, Pins
from consul_ebpf.kernel.program import DNS
from consul_ebpf.model.answers import Missing
from consul_ebpf.model.errors import ConfigError, ConsulEbpfError
from consul_ebpf.model.seams import MapBackend, Namespaces, ServerSource
from consul_ebpf.model.values import PooledServer
from consul_ebpf.servers.known import known_by
from consul_ebpf.wiring.consul import Parts

logger = logging.getLogger(__name__)


def open_dns(config: Config) -> BccMapBackend | Missing | None:
    """Load, attach and open the tables of DNS; None: it is off.

    Off, what an earlier process attached is removed. What cannot be had on this host is
    said, and `Missing`: the proxies are served all the same.

    Raises:
        ConfigError: `[dns]` cannot be carried out on any host.
    """
    kernel, dns = config.kernel, config.dns
    pins = Pins(Path(kernel.bpffs), DNS)
    try:
        if not dns.enabled:
            if pins.root.is_dir():
                with pins:
                    pins.remove(LINGER_SECONDS)
                logger.info("dns.enabled is false: removed %s", pins.root)
            return None
        return BccMapBackend.open_dns(
            vip=vip_of(dns),
            server_port=dns.server_port,
            cgroups=dns.cgroups,
            cgroup=kernel.cgroup,
            bpffs=kernel.bpffs,
        )
    except ConfigError:
        raise
    except ConsulEbpfError as error:
        why = f"DNS is {'not served' if dns.enabled else 'still attached'}: {error}"
        logger.error("%s; proxies are", why, extra=event("dns_failed"))  # noqa: TRY400
        return Missing(why)


def dns_service(
    config: Config,
    parts: Parts,
    source: ServerSource,
    backend: MapBackend,
    known: Iterable[PooledServer],
    *,
    seed: str,
    namespaces: Namespaces | None,
) -> DnsService:
    """Wire DNS around its opened tables.

    Args:
        config: the whole.
        parts: make what asks the servers.
        source: lists them.
        backend: the opened tables.
        known: servers of an earlier process.
        seed: different on each host.
        namespaces: cuts connections to dead servers.
    """
    known_dns = known_by(known, service_of(config.dns), backend.read().table)
    return DnsService(
        parts.dns_pool(source, known_dns),
        backend,
        vip_of(config.dns),
        seed=seed,
        namespaces=namespaces,
        missing=parts.cells.dns_missing,
    )
