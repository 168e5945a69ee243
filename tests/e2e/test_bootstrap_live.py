"""A rendered bootstrap, a real Envoy and a real Consul; no redirect in between."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from ipaddress import IPv4Address
from pathlib import Path

import grpc
import pytest

from consul_ebpf.envoy.bootstrap import EnvoyBootstrap
from consul_ebpf.envoy.files import BootstrapFiles
from consul_ebpf.envoy.token import HEADER
from consul_ebpf.model.values import PlacedProxy, Proxy, Vip
from tests.lab.consul import GRPC_PORT, ConsulCluster
from tests.lab.envoy import EnvoyProcess
from tests.lab.processes import inotify_instances, wait_until

pytestmark = [pytest.mark.consul, pytest.mark.envoy]

UNUSABLE = pytest.mark.parametrize(
    "content",
    [None, b"", b"{", b"\xff\x00" * 70_000, b'"inline_string": "a\\u000ab"\n'],
    ids=["missing", "empty", "cut", "garbage", "control"],
)


@pytest.fixture
def secured(consul_bin: Path) -> Iterator[ConsulCluster]:
    """One server that denies everything to those without a token."""
    with ConsulCluster(consul_bin, size=1, acl=True) as cluster:
        yield cluster


@contextmanager
def started(
    envoy: Path, files: BootstrapFiles, web: PlacedProxy, log_level: str = "warning"
) -> Iterator[EnvoyProcess]:
    """An Envoy with the token that is in the proxy's file, if any."""
    renderer = EnvoyBootstrap(token_file=files.token_path)
    path = files.write(web, renderer.render(web))
    assert path
    with EnvoyProcess(envoy, path, log_level=log_level) as running:
        yield running


def registered(cluster: ConsulCluster) -> PlacedProxy:
    """Proxy `web`, whose VIP is the cluster's only server itself."""
    (server,) = cluster.addresses
    proxy_id = cluster.register_proxy("web")
    return placed(Vip(IPv4Address(server), GRPC_PORT), (server, 19000), proxy_id)


def placed(vip: Vip, admin: tuple[str, int], proxy_id: str = "web") -> PlacedProxy:
    proxy = Proxy(id=proxy_id, node="host1-virtual", service="web", admin=admin)
    return PlacedProxy(proxy, vip)


@contextmanager
def hearing() -> Iterator[tuple[PlacedProxy, list[str | None]]]:
    """A server that refuses every call; yield its proxy, and each call's token."""
    heard: list[str | None] = []

    class Refusing(grpc.GenericRpcHandler):  # type: ignore[misc] # untyped
        def service(self, details: grpc.HandlerCallDetails) -> None:
            heard.append(dict(details.invocation_metadata).get(HEADER))

    server = grpc.server(ThreadPoolExecutor(max_workers=2), handlers=[Refusing()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        vip = Vip(IPv4Address("127.0.0.1"), port)
        yield placed(vip, ("127.0.0.2", port)), heard
    finally:
        server.stop(None).wait()


def spoil(files: BootstrapFiles, web: PlacedProxy, content: bytes | None) -> None:
    """Write `content` where the token should be; None: nothing is there."""
    files.write_token(web.proxy, "x")
    path = files.token_path(web.proxy)
    path.unlink() if content is None else path.write_bytes(content)


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
    files, web = BootstrapFiles(tmp_path), registered(secured)
    files.write_token(web.proxy, first)
    with started(envoy_bin, files, web) as envoy:
        envoy.wait_connected(20)
        files.write_token(web.proxy, second)
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
    files, web = BootstrapFiles(tmp_path), registered(secured)
    files.write_token(web.proxy, "not-a-token")
    with started(envoy_bin, files, web) as envoy:
        wait_until(lambda: envoy.upstream_cx_total > 2, "a few attempts")
        assert not envoy.configured
        files.write_token(web.proxy, new_token(secured)[1])
        envoy.wait_connected(20)


@pytest.mark.parametrize("level", ["debug", "trace"])
def test_fault_108_no_log_or_configuration_shows_the_token(
    secured: ConsulCluster, envoy_bin: Path, tmp_path: Path, level: str
) -> None:
    """However much Envoy tells; and it spends no inotify instance on the token."""
    tokens = [new_token(secured)[1], new_token(secured)[1]]
    files = BootstrapFiles(tmp_path / 'we"ird \\ \u2603')
    web = registered(secured)
    files.write_token(web.proxy, tokens[0])
    with started(envoy_bin, files, web, log_level=level) as envoy:
        envoy.wait_connected(20)
        files.write_token(web.proxy, tokens[1])
        secured.restart(0)
        envoy.wait_connected(20)
        told = envoy.child.stderr.read_text(errors="replace")
        told += envoy.child.stdout.read_text(errors="replace")
        assert "token.json" in told
        told += envoy.admin("/config_dump?include_eds").decode()
        assert [token for token in tokens if token in told] == []
        assert inotify_instances(envoy.child.pid) == 0


@UNUSABLE
def test_fault_109_without_a_usable_token_no_stream_begins(
    envoy_bin: Path, tmp_path: Path, content: bytes | None
) -> None:
    """Envoy connects again and again, says why, and asks nothing; then all at once."""
    files = BootstrapFiles(tmp_path)
    with hearing() as (web, heard):
        spoil(files, web, content)
        with started(envoy_bin, files, web) as envoy:
            wait_until(lambda: envoy.upstream_cx_total > 2, "a few attempts")
            assert heard == []
            assert "no usable token in " in envoy.child.stderr.read_text()
            files.write_token(web.proxy, "whole")
            wait_until(lambda: heard, "a stream")
            assert set(heard) == {"whole"}


@UNUSABLE
def test_fault_109_it_connects_as_soon_as_there_is_a_token(
    secured: ConsulCluster, envoy_bin: Path, tmp_path: Path, content: bytes | None
) -> None:
    """Envoy has run on, and tries again after its back-off."""
    files, web = BootstrapFiles(tmp_path), registered(secured)
    spoil(files, web, content)
    with started(envoy_bin, files, web) as envoy:
        wait_until(lambda: envoy.upstream_cx_total > 2, "a few attempts")
        assert not envoy.configured
        files.write_token(web.proxy, new_token(secured)[1])
        envoy.wait_connected(20)
