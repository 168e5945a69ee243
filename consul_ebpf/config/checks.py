"""Checks that the schema's types cannot make.

Each error is one line: the key, what is wrong with its value, what to do.
"""

import contextlib
import re
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address
from pathlib import PurePath

from consul_ebpf.base import accounts
from consul_ebpf.config import api, kubernetes
from consul_ebpf.config import proxies as entries
from consul_ebpf.config.schema import Config, Consul, Kernel
from consul_ebpf.config.seeds import Command, parse_seed
from consul_ebpf.model.addresses import parse_endpoint
from consul_ebpf.model.errors import ConfigError
from consul_ebpf.model.http_address import HttpAddress
from consul_ebpf.model.names import shown
from consul_ebpf.model.vips import check_vip

EXAMPLES = {
    "static": "10.0.0.1:8502",
    "dns": "consul.example:8502",
    "watch": "consul.example:8502",
    "exec": "exec=discover -q addrs provider=aws",
}
"""An example of `consul.addresses` for each `consul.source`."""

Problems = Iterator[tuple[str, str]]
"""(key path, what is wrong and what to do) of each problem."""

LOOPBACK = IPv4Network("127.0.0.0/8")
CONSUL_VIRTUAL = IPv4Network("240.0.0.0/4")
BETTER = "; take a range inside 127.0.0.0/8, like 127.64.0.0/10"


def check(config: Config) -> None:
    """Refuse a configuration with values that are wrong or contradict each other.

    Raises:
        ConfigError: names the key and what to do.
    """
    for key, wrong in _checks(config):
        raise ConfigError(f"{key}: {wrong}")
    for index, proxy in enumerate(
        entries.to_proxies(config.proxies, "configuration", config.consul.credentials)
    ):
        if proxy.vip is not None:
            try:
                check_vip(proxy.vip, IPv4Network(config.kernel.vip_cidr))
            except ValueError as error:
                raise ConfigError(
                    f"proxies[{index}].vip: {proxy.vip} {error}"
                ) from None


def check_available(config: Config) -> None:
    """Refuse a configuration that lacks what `run` needs.

    Raises:
        ConfigError: names the key and what to use instead.
    """
    for key, wrong in _not_served(config):
        raise ConfigError(f"{key}: {wrong}")


def _checks(config: Config) -> Problems:
    yield from _consul(config.consul)
    for key, wrong in entries.wrong_credentials(config.consul.credentials):
        yield f"consul.credentials{key}", wrong
    yield from _tls(config)
    yield from _kernel(config.kernel, _server_addresses(config.consul))
    yield from _paths(config)
    yield from api.problems(config.api, config.bootstrap.directory)
    yield from kubernetes.problems(config)
    yield from _endpoint("envoy.admin", config.envoy.admin, 'like "127.0.0.1:19000"')
    if config.envoy.ready:
        yield from _endpoint("envoy.ready", config.envoy.ready, 'like "127.0.0.1:1"')
    prometheus = config.telemetry.prometheus
    files = [prometheus.ca_certs, prometheus.cert, prometheus.key]
    if any(files) and not all(files):
        yield "telemetry.prometheus", "needs ca_certs, cert and key, or none of them"
    if not config.envoy.executable:
        yield "envoy.executable", 'is empty; write executable = "envoy"'
    for proxy_id, admin in config.workloads.admins.items():
        key = f"workloads.admins.{shown(proxy_id)}"
        yield from _endpoint(key, admin, 'like "127.0.0.1:19000"')
    for index, node in enumerate(config.workloads.catalog_nodes):
        # The name becomes a part of a URL's path.
        if not node or node in {".", ".."} or "/" in node or not node.isprintable():
            key = f"workloads.catalog_nodes[{index}]"
            yield key, f"{shown(node)} is not a node's name"


def _consul(consul: Consul) -> Problems:
    if consul.source != "catalog" and not consul.addresses:
        example = EXAMPLES[consul.source]
        yield (
            "consul.addresses",
            f'is empty; source = "{consul.source}" needs it, like ["{example}"]',
        )
    for index, address in enumerate(consul.addresses):
        key = f"consul.addresses[{index}]"
        if consul.source == "static":
            yield from _endpoint(key, address, 'like "10.0.0.1:8502"', default_port=1)
            continue
        try:
            seed = parse_seed(address, 1)
        except ConfigError as error:
            yield key, str(error)
            continue
        if isinstance(seed, Command) and consul.source == "dns":
            yield (
                key,
                f'{shown(address)}: only source = "exec" or "watch" runs commands',
            )
    if not re.fullmatch(r"[A-Za-z0-9_-]*", consul.datacenter):
        yield "consul.datacenter", f"{shown(consul.datacenter)} is not a datacenter"


def _tls(config: Config) -> Problems:
    tls = config.consul.tls
    key = "consul.tls"
    for name in ("ca_certs", "cert", "key"):
        path = getattr(tls, name)
        if path and not path.startswith("/"):
            yield f"{key}.{name}", f"{shown(path)} is not an absolute path"
    if tls.key and not tls.cert:
        yield f"{key}.key", "is given without consul.tls.cert"
    names = {
        f"{key}.server_name": tls.server_name,
        f"{key}.http_server_name": tls.http_server_name,
        "consul.domain": config.consul.domain,
    }
    for key, name in names.items():
        if not (re.fullmatch(r"[A-Za-z0-9._-]*", name) or _is_address(key, name)):
            yield key, f"{shown(name)} is not a name"


def _is_address(key: str, text: str) -> bool:
    """Whether it is an IPv6 address, where the key may hold one.

    An IPv4 address passes as a name.
    """
    try:
        return key != "consul.domain" and not IPv6Address(text).scope_id
    except ValueError:
        return False


def _kernel(kernel: Kernel, consul: dict[IPv4Address, str]) -> Problems:
    key = "kernel.vip_cidr"
    try:
        network = IPv4Network(kernel.vip_cidr, strict=False)
    except ValueError:
        yield key, f"{shown(kernel.vip_cidr)} is not an IPv4 network{BETTER}"
        return
    if kernel.vip_cidr != str(network):
        yield key, f"{shown(kernel.vip_cidr)} is not exact; write {network}"
    if network.overlaps(CONSUL_VIRTUAL):
        yield key, f"{network} overlaps {CONSUL_VIRTUAL}, Consul's virtual IPs{BETTER}"
    if not network.subnet_of(LOOPBACK):
        yield key, f"{network} is not loopback, so tokens could leave the host{BETTER}"
    for address, whose in {**consul, IPv4Address("127.0.0.1"): "localhost"}.items():
        if address in network:
            yield (
                key,
                f"{network} holds {address} ({whose}); take a range that does not",
            )


def _server_addresses(consul: Consul) -> dict[IPv4Address, str]:
    """Return the IPv4 addresses of Consul in the configuration, each with its key."""
    hosts = {
        f"consul.http_addresses[{index}]": HttpAddress.parse(url).host
        for index, url in enumerate(consul.http_addresses)
    }
    for index, text in enumerate(consul.addresses):
        with contextlib.suppress(ValueError):
            hosts[f"consul.addresses[{index}]"], _ = parse_endpoint(text, 1)
    found = {}
    for key, host in hosts.items():
        with contextlib.suppress(ValueError):  # it is a name; this resolves none
            found[IPv4Address(host)] = key
    return found


def _paths(config: Config) -> Problems:
    """Refuse relative paths: they would depend on where the controller is started."""
    paths = {
        "kernel.cgroup": config.kernel.cgroup.removeprefix("auto"),
        "kernel.bpffs": config.kernel.bpffs or ".",
        "bootstrap.directory": config.bootstrap.directory or ".",
        "workloads.directory": config.workloads.directory,
    }
    for key, path in paths.items():
        if path and not (PurePath(path).is_absolute() and path.isprintable()):
            yield key, f"{shown(path)} is not an absolute path; begin it with /"
    owner = config.bootstrap.owner
    if owner and any(map(accounts.problem, owner.split(":", 1))):
        yield "bootstrap.owner", f"{shown(owner)} is not user or user:group"


def _not_served(config: Config) -> Problems:
    consul = config.consul
    tls = consul.tls
    if not (tls.disabled or tls.server_name or consul.datacenter):
        yield (
            "consul.tls.server_name",
            "is empty, as is consul.datacenter; give one, or set tls.disabled = true",
        )
    yield from kubernetes.not_served(config)
    if config.workloads.catalog_nodes and not consul.http_addresses:
        yield (
            "consul.http_addresses",
            'is empty; workloads.catalog_nodes needs it, like ["http://127.0.0.1:8500"]',
        )


def _endpoint(
    key: str, text: str, example: str, default_port: int | None = None
) -> Problems:
    try:
        parse_endpoint(text, default_port)
    except ValueError as error:
        yield key, f"{shown(text)}: {error}; write it {example}"
