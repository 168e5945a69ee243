"""`render`: prints a proxy's bootstrap, and changes nothing."""

import asyncio
from pathlib import Path

import click

from consul_ebpf.cli.options import configured, for_proxy
from consul_ebpf.cli.output import say, say_json
from consul_ebpf.config.schema import Config
from consul_ebpf.model.errors import ConsulEbpfError
from consul_ebpf.model.values import PlacedProxy, Proxy
from consul_ebpf.proxies.memory import VipMemory
from consul_ebpf.proxies.vips import allocate
from consul_ebpf.wiring.files import renderer
from consul_ebpf.wiring.host import vip_range, workload_source
from consul_ebpf.wiring.looking import LookingParts

WORKLOADS_SECONDS = 10.0
"""Seconds that all sources of proxies have for their first answer."""


@click.command()
@for_proxy
@configured(serving=True)
def render(config: Config, proxy_id: str) -> None:
    """Print a proxy's bootstrap, as the controller writes it."""
    proxies = asyncio.run(_proxies(config))
    if not any(proxy.id == proxy_id for proxy in proxies):
        known = ", ".join(sorted(proxy.id for proxy in proxies)[:10]) or "none"
        raise ConsulEbpfError(
            f"proxy {proxy_id!r} is not among this host's proxies ({known}): "
            "add it to [[proxies]] or to a source in [workloads]"
        )
    placed = _place(config, proxies, proxy_id)
    try:
        params = asyncio.run(LookingParts(config).params_now(placed.proxy))
    except (ConsulEbpfError, TimeoutError) as error:
        why = str(error) or "the source of servers does not answer"
        say(f"warning: without central configuration: {why}", err=True)
        params = None
    say_json(renderer(config).render(placed, params))


async def _proxies(config: Config) -> tuple[Proxy, ...]:
    """Return the proxies that the configured sources name first, merged."""
    try:
        async with asyncio.timeout(WORKLOADS_SECONDS):
            parts = LookingParts(config)
            source = workload_source(config, parts.kept_token, parts.https)
            async for proxies in source.watch():
                return proxies
    except TimeoutError as error:
        raise ConsulEbpfError(
            f"the sources in [workloads] did not answer within {WORKLOADS_SECONDS:g} s:"
            " is Consul reachable at consul.http_addresses?"
        ) from error
    return ()


def _place(config: Config, proxies: tuple[Proxy, ...], proxy_id: str) -> PlacedProxy:
    allocation = allocate(
        proxies,
        VipMemory(Path(config.bootstrap.directory)).read(),
        vip_range(config),
    )
    for placed in allocation.placed:
        if placed.proxy.id == proxy_id:
            return placed
    reasons = [why for proxy, why in allocation.refused if proxy.id == proxy_id]
    raise ConsulEbpfError("; ".join(reasons))
