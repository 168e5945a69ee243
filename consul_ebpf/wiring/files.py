"""Makes what reads and writes files: Envoy's, the state's, the endpoint's socket."""

import os
import ssl
from functools import partial
from ipaddress import IPv4Network
from pathlib import Path

from consul_ebpf.base.accounts import gid_of, group_of, uid_of
from consul_ebpf.base.event_counts import EventCounts
from consul_ebpf.config.api import socket_path
from consul_ebpf.config.load import DEFAULT_HTTP_ADDRESS
from consul_ebpf.config.schema import Config
from consul_ebpf.controller.problems import ProblemFile
from consul_ebpf.envoy.bootstrap import EnvoyBootstrap
from consul_ebpf.envoy.files import BootstrapFiles
from consul_ebpf.envoy.tls import XdsTls
from consul_ebpf.model.addresses import parse_endpoint
from consul_ebpf.model.errors import ConfigError
from consul_ebpf.model.names import shown
from consul_ebpf.model.seams import BootstrapRenderer
from consul_ebpf.model.values import PodVolume, Prometheus, Proxy, ProxyTelemetry
from consul_ebpf.proxies.memory import VipMemory
from consul_ebpf.servers.known import KnownServers, cluster_key
from consul_ebpf.views.gatherer import Established, Gatherer

SYSTEM_ROOTS = "/etc/ssl/certs/ca-certificates.crt"
"""The system's CA certificates, if OpenSSL names no file of them."""


def bootstrap_files(config: Config) -> BootstrapFiles:
    """Make the writer of `[bootstrap] directory`."""
    bootstrap = config.bootstrap
    return BootstrapFiles(Path(bootstrap.directory), owner=_owner(bootstrap.owner))


def renderer(config: Config) -> BootstrapRenderer:
    """Make the renderer of bootstraps. They name the files that `run` writes."""
    files = bootstrap_files(config)
    has_token = bool(config.consul.credentials.type)
    tls, prometheus = config.consul.tls, config.telemetry.prometheus
    xds = XdsTls(
        server_name=config.consul.certificate_name,
        verify=not tls.insecure_skip_verify,
        ca_file=files.tls_ca_path if tls.ca_certs else None,
        cert_file=files.tls_cert_path if tls.cert else None,
        system_roots=ssl.get_default_verify_paths().cafile or SYSTEM_ROOTS,
    )

    if prometheus.ca_certs and Path(prometheus.ca_certs).is_dir():
        raise ConfigError(
            f"telemetry.prometheus.ca_certs: {prometheus.ca_certs} is a directory,"
            " and Envoy reads one file: put all its certificates into one"
        )

    def token_file(proxy: Proxy) -> Path | None:
        return files.token_path(proxy) if has_token or proxy.credentials else None

    return EnvoyBootstrap(
        admin=parse_endpoint(config.envoy.admin),
        ready=parse_endpoint(config.envoy.ready) if config.envoy.ready else None,
        datacenter=config.consul.datacenter,
        token_file=token_file,
        tls=None if tls.disabled else xds,
        telemetry=ProxyTelemetry(
            use_central_config=config.telemetry.use_central_config,
            prometheus=Prometheus(
                scrape_path=prometheus.scrape_path,
                backend_port=prometheus.backend_port,
                ca_certs=prometheus.ca_certs,
                cert=prometheus.cert,
                key=prometheus.key,
            ),
        ),
        env=os.environ,
    )


def instances_per_envoy(config: Config) -> int:
    """Return how many inotify instances an Envoy needs: one for each file of TLS."""
    tls = config.consul.tls
    verifies = bool(tls.ca_certs) and not tls.insecure_skip_verify
    return 0 if tls.disabled else verifies + bool(tls.cert)


def known_servers(config: Config) -> KnownServers:
    """Make the file of the last known servers of the configured cluster."""
    consul = config.consul
    directory = (
        config.state.directory
        or os.environ.get("STATE_DIRECTORY", "").partition(":")[0]
        or config.bootstrap.directory
    )
    return KnownServers(
        Path(directory),
        cluster_key(
            consul.source,
            consul.datacenter,
            # Also where nothing is asked over HTTP: earlier versions did so, and their
            # files must not count as another cluster's.
            consul.http_addresses or [DEFAULT_HTTP_ADDRESS],
            consul.addresses,
        ),
        IPv4Network(config.kernel.vip_cidr),
    )


def bootstrap_left_for(config: Config, proxy_id: str) -> Path:
    """Return where the controller left a proxy's bootstrap, which may not exist.

    A user who may not read the controller's memory gets the default path.
    """
    directory = Path(config.bootstrap.directory)
    key = VipMemory(directory).key_of(proxy_id)
    return BootstrapFiles(directory).bootstrap_left_for(key)


def event_counts(config: Config) -> EventCounts:
    """Make the file of the events' counts, beside the bootstraps."""
    return EventCounts(Path(config.bootstrap.directory))


def problem_file(config: Config) -> ProblemFile:
    """Make the file of the problems, beside the bootstraps."""
    return ProblemFile(Path(config.bootstrap.directory))


def gatherer(config: Config, established: Established | None = None) -> Gatherer:
    """Make what takes snapshots of this host.

    Args:
        config: names the directories of pins and files.
        established: finds established sockets; see `Gatherer`.
    """
    directory = Path(config.bootstrap.directory)
    return Gatherer(
        Path(config.kernel.bpffs),
        directory,
        established,
        partial(_volumes, directory) if config.kubernetes.enabled else None,
    )


def _volumes(directory: Path) -> tuple[PodVolume, ...]:
    # Memory that other hosts do not need.
    from consul_ebpf.kubernetes.pods.kept import read_volumes  # noqa: PLC0415

    return read_volumes(directory)


def api_socket(config: Config) -> Path:
    """Return where the local endpoint's socket is."""
    return Path(socket_path(config.api, config.bootstrap.directory))


def _owner(text: str) -> tuple[int, int] | None:
    """Return uid and gid of `user` or `user:group`, each a name or a number."""
    if not text:
        return None
    user, _, group = text.partition(":")
    part = user
    try:
        uid = uid_of(user)
        part = group or user
        return uid, gid_of(group) if group else group_of(uid)
    except ValueError as error:
        raise ConfigError(
            f"bootstrap.owner {shown(text)}: {shown(part)} {error}: "
            "create the user or group, or name another"
        ) from None
