"""Files elsewhere: where they go, whose they are, and that they go with their proxy."""

import json
import os
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from consul_ebpf.base.tls import TlsMaterial
from consul_ebpf.envoy.bootstrap import EnvoyBootstrap
from consul_ebpf.envoy.files import BootstrapFiles
from consul_ebpf.envoy.tls import XdsTls
from consul_ebpf.model.errors import InvalidProxyError
from consul_ebpf.model.names import check_proxy, unique
from consul_ebpf.model.values import (
    BootstrapParams,
    PlacedProxy,
    Prometheus,
    Proxy,
    ProxyFiles,
    ProxyTelemetry,
    Vip,
)

VIP = Vip(IPv4Address("127.64.0.1"), 8502)
TLS = TlsMaterial(ca="CA", cert="", key="")


@pytest.fixture
def top(tmp_path: Path) -> Path:
    return tmp_path / "run"


@pytest.fixture
def pod(tmp_path: Path) -> Proxy:
    """A proxy whose files go into a pod's volume."""
    volume = str(tmp_path / "volume")
    return Proxy("web", "n", key="pod-1", files=ProxyFiles(volume, "/consul"))


def placed(proxy: Proxy) -> PlacedProxy:
    return PlacedProxy(proxy, VIP)


def written(files: BootstrapFiles, proxy: Proxy) -> Path:
    path = files.write(placed(proxy), {"node": {"id": proxy.id}})
    assert path == files.bootstrap_path(proxy)
    files.write_token(proxy, "secret")
    files.write_tls(proxy, TLS)
    return path.parent


def test_they_are_written_and_removed_there(
    top: Path, pod: Proxy, tmp_path: Path
) -> None:
    """All of them; a directory that holds more stays, with what is not ours."""
    files = BootstrapFiles(top)
    volume = written(files, pod)
    assert volume == tmp_path / "volume"
    assert {each.name for each in volume.iterdir()} == {
        "bootstrap.json",
        "token.json",
        "tls-ca.json",
    }
    (volume / "notes.txt").touch()
    assert files.prune(["pod-1"]) == []
    assert files.prune([]) == ["pod-1"]
    assert [each.name for each in volume.iterdir()] == ["notes.txt"]
    assert {each.name for each in top.iterdir()} == {"elsewhere.json"}


def test_a_restart_removes_what_an_earlier_run_left(top: Path, pod: Proxy) -> None:
    """It is remembered, so that nobody has to look through other directories."""
    volume = written(BootstrapFiles(top), pod)
    later = BootstrapFiles(top)
    later.learn()
    assert later.prune(["pod-1"]) == []
    assert volume.exists()
    assert BootstrapFiles(top).prune(["another"]) == ["pod-1"]
    assert not volume.exists()
    assert BootstrapFiles(top).prune([]) == []


def test_what_was_removed_is_remembered_again(top: Path, pod: Proxy) -> None:
    """Once more files are written there; a bad neighbour is no reason not to."""
    files = BootstrapFiles(top)
    bad = Proxy("bad", "n", files=ProxyFiles(str(top / "api")))
    for _ in range(2):
        files.settle([bad, pod])
        volume = written(files, pod)
        assert BootstrapFiles(top).remove("pod-1")
        assert not volume.exists()
        written(files, pod)
        assert files.remove("pod-1")
        files.settle([bad, pod])
        assert BootstrapFiles(top).bootstrap_left_for("pod-1").parent == volume


def test_remove(top: Path, pod: Proxy) -> None:
    """One proxy's, wherever they are."""
    volume = written(BootstrapFiles(top), pod)
    assert BootstrapFiles(top).remove("pod-1")
    assert not volume.exists()
    assert not BootstrapFiles(top).remove("pod-1")


def test_who_moves_keeps_the_old_files_until_the_new_are_there(
    top: Path, pod: Proxy, tmp_path: Path
) -> None:
    """From the bootstraps' directory, between others, and back again."""
    files = BootstrapFiles(top)
    elsewhere = ProxyFiles(str(tmp_path / "another"))
    homes = [replace(pod, files=None), pod, replace(pod, files=elsewhere)]
    before = written(files, homes[0])
    for proxy in (*homes[1:], homes[0]):
        files.settle([proxy])
        files.prune(["pod-1"])
        assert (before / "bootstrap.json").exists()
        now = written(files, proxy)
        files.prune(["pod-1"])
        assert not before.exists()
        before = now
    assert before == top / "pod-1"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give files away")
def test_they_are_the_proxys_own_owners(top: Path, pod: Proxy) -> None:
    """Not those of `bootstrap.owner`; an owner that changes is taken up."""
    files = BootstrapFiles(top, owner=(1000, 1000))
    assert pod.files is not None
    for owner, told in (((65534, 100), (65534, 100)), (None, (1000, 1000))):
        proxy = replace(pod, files=replace(pod.files, owner=owner))
        for path in written(files, proxy).iterdir():
            status = path.stat()
            assert (status.st_uid, status.st_gid) == told
            assert status.st_mode & 0o777 == 0o600


def test_envoy_is_told_the_paths_that_it_sees(top: Path, pod: Proxy) -> None:
    """In its container they are others; without a second path, the host's."""
    files = BootstrapFiles(top)
    tls = XdsTls("server.dc1.consul", ca_file=files.tls_ca_path)
    renderer = EnvoyBootstrap(token_file=files.token_path, tls=tls)
    text = json.dumps(renderer.render(placed(pod)))
    assert "/consul/token.json" in text
    assert '"/consul/tls-ca.json"' in text
    assert '"watched_directory": {"path": "/consul"}' in text
    assert pod.files is not None
    assert pod.files.directory not in text
    same = replace(pod, files=replace(pod.files, seen_at=""))
    text = json.dumps(renderer.render(placed(same)))
    assert f"{pod.files.directory}/token.json" in text


def test_a_container_has_variables_and_roots_of_its_own(top: Path, pod: Proxy) -> None:
    """The controller's are never in its bootstrap, even where it has none."""
    tls = XdsTls("server.dc1.consul", system_roots="/host/roots.pem")
    renderer = EnvoyBootstrap(tls=tls, env={"STATSD": "udp://127.0.0.9:8125"})
    params = BootstrapParams(config={"envoy_statsd_url": "$STATSD"})

    def text(proxy: Proxy) -> str:
        return json.dumps(renderer.render(placed(proxy), params))

    host = replace(pod, files=None)
    assert "127.0.0.9" in text(host)
    assert "/host/roots.pem" in text(host)
    assert "127.0.0.9" not in text(pod)
    assert "/host/roots.pem" not in text(pod)
    assert '"/etc/ssl/certs/ca-certificates.crt"' in text(pod)
    for proxy in (host, pod):
        own = replace(proxy, env=(("STATSD", "udp://127.0.0.7:8125"),))
        assert "127.0.0.7" in text(own)


def test_a_proxy_tells_of_itself_as_it_says(pod: Proxy, tmp_path: Path) -> None:
    """Not as the host does; the paths are its container's, and nobody looks there."""
    host = ProxyTelemetry(prometheus=Prometheus("/host"))
    renderer = EnvoyBootstrap(telemetry=host)
    params = BootstrapParams(config={"envoy_prometheus_bind_addr": "0.0.0.0:20200"})

    def text(telemetry: ProxyTelemetry | None) -> str:
        proxy = replace(pod, telemetry=telemetry)
        return json.dumps(renderer.render(placed(proxy), params))

    assert '"/host"' in text(None)
    assert '"/own"' in text(ProxyTelemetry(prometheus=Prometheus("/own")))
    assert "20200" not in text(ProxyTelemetry(use_central_config=False))
    directory = str(tmp_path)
    secured = Prometheus(ca_certs=directory, cert="/c.pem", key="/k.pem")
    assert directory in text(ProxyTelemetry(prometheus=secured))


def test_the_bootstraps_directory_is_no_place_elsewhere(
    top: Path, pod: Proxy, tmp_path: Path
) -> None:
    """There each proxy has its own, which may be named, too; links do not hide it."""
    files = BootstrapFiles(top)
    own = replace(pod, files=ProxyFiles(str(top / "pod-1")))
    assert written(files, own) == top / "pod-1"
    assert not (top / "elsewhere.json").exists()
    victim = written(files, Proxy("api", "n"))
    (tmp_path / "link").symlink_to(top)
    for place in (top / "api", tmp_path / "link" / "api"):
        bad = replace(pod, files=ProxyFiles(str(place)))
        files.settle([bad])
        with pytest.raises(InvalidProxyError, match="name one elsewhere"):
            files.write(placed(bad), {})
        with pytest.raises(InvalidProxyError, match="name one elsewhere"):
            files.write_tls(bad, None)
    assert (victim / "tls-ca.json").exists()
    files.prune(["api", "pod-1"])
    assert (victim / "bootstrap.json").exists()


@pytest.mark.parametrize(
    ("files", "field"),
    [
        (ProxyFiles(""), "directory"),
        (ProxyFiles("volume"), "directory"),
        (ProxyFiles("/run/../etc"), "directory"),
        (ProxyFiles("/a\nb"), "directory"),
        (ProxyFiles("/volume", "consul"), "seen_at"),
        (ProxyFiles("/volume", "/a\0b"), "seen_at"),
    ],
)
def test_paths_that_are_none(files: ProxyFiles, field: str, pod: Proxy) -> None:
    """The proxy is refused by name."""
    with pytest.raises(InvalidProxyError, match=rf"proxy 'web': files\.{field} "):
        check_proxy(replace(pod, files=files))


def test_a_directory_is_one_proxys(pod: Proxy) -> None:
    """The second one is refused: each would write over the other's files."""
    twin = replace(pod, key="pod-2")
    first, refused = unique([pod, twin, Proxy("api", "n")])
    assert [each.key for each in first] == ["pod-1", "api"]
    assert [each.key for each, _ in refused] == ["pod-2"]
