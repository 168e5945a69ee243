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
from tests.lab.processes import inotify_instances, wait_until

pytestmark = [pytest.mark.consul, pytest.mark.envoy]

EXECUTIONS = "cluster.consul-dataplane.lua.executions"
"""How often the filter that adds the token has run."""


@pytest.fixture
def secured(consul_bin: Path) -> Iterator[ConsulCluster]:
    """One server that denies everything to those without a token."""
    with ConsulCluster(consul_bin, size=1, acl=True) as cluster:
        yield cluster


@contextmanager
def started(
    envoy: Path,
    files: BootstrapFiles,
    cluster: ConsulCluster,
    token: str,
    log_level: str = "warning",
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
    with EnvoyProcess(envoy, path, log_level=log_level) as running:
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


@pytest.mark.parametrize("level", ["debug", "trace"])
def test_fault_108_no_log_or_configuration_shows_the_token(
    secured: ConsulCluster, envoy_bin: Path, tmp_path: Path, level: str
) -> None:
    """However much Envoy tells; and it spends no inotify instance on the token."""
    tokens = [new_token(secured)[1], new_token(secured)[1]]
    files = BootstrapFiles(tmp_path / 'we"ird \\ \u2603')
    with started(envoy_bin, files, secured, tokens[0], level) as (envoy, proxy):
        envoy.wait_connected(20)
        files.write_token(proxy, tokens[1])
        secured.restart(0)
        envoy.wait_connected(20)
        told = envoy.child.stderr.read_text(errors="replace")
        told += envoy.child.stdout.read_text(errors="replace")
        assert "token.json" in told
        told += envoy.admin("/config_dump?include_eds").decode()
        assert [token for token in tokens if token in told] == []
        assert inotify_instances(envoy.child.pid) == 0


@pytest.mark.parametrize(
    "content",
    [None, b"", b"{", b"\xff\x00" * 70_000, b'"inline_string": "a\\u000ab"\n'],
    ids=["missing", "empty", "cut", "garbage", "control"],
)
def test_fault_109_without_a_usable_token_no_stream_begins(
    secured: ConsulCluster, envoy_bin: Path, tmp_path: Path, content: bytes | None
) -> None:
    """Envoy runs on and tries again; it connects as soon as there is one."""
    files = BootstrapFiles(tmp_path)
    with started(envoy_bin, files, secured, "x") as (envoy, proxy):
        path = files.token_path(proxy)
        path.unlink() if content is None else path.write_bytes(content)
        before = wait_until(lambda: envoy.stat(EXECUTIONS), "a first attempt")
        wait_until(lambda: envoy.stat(EXECUTIONS) > before + 2, "more attempts")
        assert not envoy.configured
        files.write_token(proxy, new_token(secured)[1])
        envoy.wait_connected(20)
        assert envoy.stat(EXECUTIONS.replace("executions", "errors")) == 0
