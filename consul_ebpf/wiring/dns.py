"""Makes the parts of DNS: its tables, and the service around them."""

import logging
from collections.abc import Iterable
from pathlib import Path

from consul_ebpf.base.events import event
from consul_ebpf.config.dns import fault, service_of, vip_of
from consul_ebpf.config.schema import Config
from consul_ebpf.controller.dns import DnsService
from consul_ebpf.kernel.backend import BccMapBackend
from consul_ebpf.kernel.pins import LINGER_SECONDS, Pins
from consul_ebpf.kernel.program import DNS
from consul_ebpf.model.answers import Missing
from consul_ebpf.model.errors import ConsulEbpfError
from consul_ebpf.model.seams import MapBackend, Namespaces, ServerSource
from consul_ebpf.model.values import PooledServer
from consul_ebpf.servers.known import known_by
from consul_ebpf.wiring.consul import Parts

logger = logging.getLogger(__name__)


def open_dns(config: Config) -> BccMapBackend | Missing | None:
    """Load and attach the program of DNS, and open its tables.

    If DNS is off, what an earlier process attached is removed.

    Returns:
        The tables; None: DNS is off; `Missing`: this host cannot serve it, or no host
        could serve this `[dns]`. That is logged, and the proxies are served all the
        same.
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
        if wrong := fault(config):
            raise ConsulEbpfError(wrong)  # noqa: TRY301  # told as other reasons are
        return BccMapBackend.open_dns(
            vip=vip_of(dns),
            server_port=dns.server_port,
            cgroups=dns.cgroups,
            cgroup=kernel.cgroup,
            bpffs=kernel.bpffs,
        )
    except ConsulEbpfError as error:
        why = f"DNS is {'not served' if dns.enabled else 'still attached'}: {error}"
        logger.error("%s; the proxies are served", why, extra=event("dns_failed"))  # noqa: TRY400
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
        config: the whole configuration.
        parts: makes the pool of the servers' DNS.
        source: lists the servers.
        backend: the opened tables.
        known: servers that an earlier process knew.
        seed: different on each host.
        namespaces: cuts connections to dead servers; None: none are cut.
    """
    known_dns = known_by(known, service_of(config.dns), backend.read().table)
    return DnsService(
        parts.dns_pool(source, known_dns),
        backend,
        vip_of(config.dns),
        seed=seed,
        namespaces=namespaces,
        missing=parts.cells.dns_missing,
        pooled=parts.cells.dns_pooled,
    )
