"""A rendered bootstrap, a real Envoy and a real Consul; no redirect in between."""

from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from consul_ebpf.envoy.bootstrap import EnvoyBootstrap
from consul_ebpf.envoy.files import BootstrapFiles
from consul_ebpf.model.values import PlacedProxy, Proxy, Vip
from tests.lab.consul import GRPC_PORT, ConsulCluster
from tests.lab.envoy import EnvoyProcess
from tests.lab.processes import wait_until

pytestmark = [pytest.mark.consul, pytest.mark.envoy]


@pytest.fixture
def secured(consul_bin: Path) -> Iterator[ConsulCluster]:
    """One server that denies everything to those without a token."""
    with ConsulCluster(consul_bin, size=1, acl=True) as cluster:
        yield cluster


@contextmanager
def started(
    envoy: Path, files: BootstrapFiles, cluster: ConsulCluster, token: str
) -> Iterator[tuple[EnvoyProcess, Proxy]]:
    """An Envoy whose VIP is the server itself."""
    (server,) = cluster.addresses
    proxy = Proxy(
        id=cluster.register_proxy("web"),
        node="host1-virtual",
        service="web",
        admin=(server, 19000),
    )
    placed = PlacedProxy(proxy, Vip(IPv4Address(server), GRPC_PORT))
    files.write_token(proxy, token)
    path = files.write(
        placed, EnvoyBootstrap(token_file=files.token_path).render(placed)
    )
    assert path
    with EnvoyProcess(envoy, path) as running:
        yield running, proxy


def new_token(cluster: ConsulCluster) -> tuple[str, str]:
    """Accessor and secret of a token that may be proxy `web`, and nothing else."""
    identity = {"ServiceIdentities": [{"ServiceName": "web"}]}
    token = cluster.call("PUT", "/v1/acl/token", identity)
    return token["AccessorID"], token["SecretID"]


def test_fault_16_the_token_file_lets_it_in_and_may_change(
    secured: ConsulCluster, envoy_bin: Path, tmp_path: Path
) -> None:
    """Envoy runs on, with the new token, when the old one is replaced and deleted."""
    accessor, first = new_token(secured)
    _, second = new_token(secured)
    files = BootstrapFiles(tmp_path)
    with started(envoy_bin, files, secured, first) as (envoy, proxy):
        envoy.wait_connected(20)
        files.write_token(proxy, second)
        secured.call("DELETE", f"/v1/acl/token/{accessor}")
        secured.restart(0)  # ends the stream: the next one needs a valid token
        envoy.wait_connected(20)
        dump = envoy.admin("/config_dump").decode()
        assert first not in dump
        assert second not in dump


def test_a_wrong_token_does_not(
    secured: ConsulCluster, envoy_bin: Path, tmp_path: Path
) -> None:
    """So it is the token that lets it in; the right one, put there later, does."""
    files = BootstrapFiles(tmp_path)
    with started(envoy_bin, files, secured, "not-a-token") as (envoy, proxy):
        wait_until(lambda: envoy.upstream_cx_total > 2, "a few attempts")
        assert not envoy.configured
        files.write_token(proxy, new_token(secured)[1])
        envoy.wait_connected(20)
