"""Envoy's own TLS to a real server; no redirect in between."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from consul_ebpf.base.tls import TlsMaterial
from consul_ebpf.envoy.bootstrap import EnvoyBootstrap
from consul_ebpf.envoy.files import BootstrapFiles
from consul_ebpf.envoy.tls import XdsTls
from consul_ebpf.model.values import PlacedProxy, Proxy, Vip
from tests.lab.certificates import FOUND, Authority, Kind
from tests.lab.consul import GRPC_TLS_PORT, ConsulCluster, ServerTls
from tests.lab.envoy import EnvoyProcess
from tests.lab.processes import wait_until

pytestmark = [pytest.mark.consul, pytest.mark.envoy]

NAME = "server.dc1.consul"


class Side:
    """A server, and what is needed to start Envoys that verify it."""

    def __init__(self, envoy: Path, cluster: ConsulCluster, directory: Path) -> None:
        self.cluster = cluster
        self._envoy = envoy
        self.files = BootstrapFiles(directory)
        (server,) = cluster.addresses
        self.proxy = Proxy(
            id=cluster.register_proxy("web"),
            node="host1-virtual",
            service="web",
            admin=(server, 19000),
        )
        self._vip = Vip(IPv4Address(server), GRPC_TLS_PORT)
        self.xds = XdsTls(NAME, ca_file=self.files.tls_ca_path)

    @contextmanager
    def envoy(self, xds: XdsTls, material: TlsMaterial) -> Iterator[EnvoyProcess]:
        placed = PlacedProxy(self.proxy, self._vip)
        self.files.write_tls(self.proxy, material)
        self.files.write(placed, EnvoyBootstrap(tls=xds).render(placed))
        with EnvoyProcess(self._envoy, self.files.bootstrap_path(self.proxy)) as envoy:
            yield envoy

    def refused(self, envoy: EnvoyProcess) -> int:
        """Return how often it has refused a certificate, for whatever reason."""
        names = ("fail_verify_san", "fail_verify_error", "connection_error")
        return sum(envoy.stat(f"cluster.{envoy.xds_cluster}.ssl.{n}") for n in names)

    def accepted(self, envoy: EnvoyProcess) -> int:
        """Return how many handshakes it has ended well."""
        return envoy.stat(f"cluster.{envoy.xds_cluster}.ssl.handshake")

    def wait_connected(self, envoy: EnvoyProcess) -> None:
        envoy.wait_connected(20, port=GRPC_TLS_PORT)


@contextmanager
def side(
    consul: Path,
    envoy: Path,
    directory: Path,
    authority: Authority,
    *,
    verify_incoming: bool = False,
    root: Authority | None = None,
) -> Iterator[Side]:
    trusted = (root or authority).pem
    tls = ServerTls(trusted, authority.issue(), verify_incoming)
    with ConsulCluster(consul, size=1, tls=tls) as cluster:
        yield Side(envoy, cluster, directory)


@pytest.mark.parametrize("kind", ["rsa", "ecdsa", "ed25519"])
def test_every_kind_of_certificate(
    consul_bin: Path, envoy_bin: Path, tmp_path: Path, kind: Kind
) -> None:
    """Verified by CA and name: the right ones connect, a wrong name never."""
    authority = Authority(kind)
    trusted = TlsMaterial(ca=authority.pem)
    with side(consul_bin, envoy_bin, tmp_path, authority) as here:
        with here.envoy(here.xds, trusted) as envoy:
            here.wait_connected(envoy)
            assert here.accepted(envoy)
        wrong = replace(here.xds, server_name="server.dc2.consul")
        with here.envoy(wrong, trusted) as envoy:
            wait_until(lambda: here.refused(envoy) > 2, "refused certificates")
            assert envoy.stat(f"cluster.{envoy.xds_cluster}.ssl.fail_verify_san") > 2
            assert not here.accepted(envoy)
            assert not envoy.configured


def test_fault_56_a_foreign_ca_never_connects_until_the_right_one_is_there(
    consul_bin: Path, envoy_bin: Path, tmp_path: Path
) -> None:
    """The CA's file is replaced under a running Envoy."""
    authority, foreign = Authority(), Authority()
    with side(consul_bin, envoy_bin, tmp_path, authority) as here:
        with here.envoy(here.xds, TlsMaterial(ca=foreign.pem)) as envoy:
            wait_until(lambda: here.refused(envoy) > 2, "refused certificates")
            assert not envoy.configured
            here.files.write_tls(here.proxy, TlsMaterial(ca=authority.pem))
            here.wait_connected(envoy)
        with here.envoy(replace(here.xds, verify=False), TlsMaterial()) as envoy:
            here.wait_connected(envoy)


def test_fault_56_an_expired_certificate_never_connects(
    consul_bin: Path, envoy_bin: Path, tmp_path: Path
) -> None:
    """And a good one again does."""
    authority = Authority()
    with side(consul_bin, envoy_bin, tmp_path, authority) as here:
        expired = ServerTls(authority.pem, authority.issue(expired=True))
        here.cluster.replace_tls(expired)
        with here.envoy(here.xds, TlsMaterial(ca=authority.pem)) as envoy:
            wait_until(lambda: here.refused(envoy) > 2, "refused certificates")
            assert not envoy.configured
            here.cluster.replace_tls(ServerTls(authority.pem, authority.issue()))
            here.wait_connected(envoy)


def test_a_client_certificate_and_its_replacement(
    consul_bin: Path, envoy_bin: Path, tmp_path: Path
) -> None:
    """Without one the server hangs up; it too is replaced under a running Envoy."""
    authority, foreign = Authority(), Authority()
    with side(consul_bin, envoy_bin, tmp_path, authority, verify_incoming=True) as here:
        xds = replace(here.xds, cert_file=here.files.tls_cert_path)
        bad, good = foreign.issue(), authority.issue()
        material = TlsMaterial(authority.pem, bad.cert, bad.key)
        with here.envoy(xds, material) as envoy:
            wait_until(lambda: envoy.upstream_cx_total > 2, "a few attempts")
            assert not envoy.configured
            here.files.write_tls(
                here.proxy, TlsMaterial(authority.pem, good.cert, good.key)
            )
            here.wait_connected(envoy)


def test_fault_120_an_intermediate_is_all_that_envoy_has(
    consul_bin: Path, envoy_bin: Path, tmp_path: Path
) -> None:
    """It ends the chain, as it does for the controller."""
    root = Authority()
    authority = root.intermediate()
    with side(consul_bin, envoy_bin, tmp_path, authority, root=root) as here:
        with here.envoy(here.xds, TlsMaterial(ca=authority.pem)) as envoy:
            here.wait_connected(envoy)
        stranger = TlsMaterial(ca=root.intermediate().pem)
        with here.envoy(here.xds, stranger) as envoy:
            wait_until(lambda: here.refused(envoy) > 2, "refused certificates")
            assert not envoy.configured


def test_fault_123_envoy_finds_the_names_that_the_probe_finds(
    consul_bin: Path, envoy_bin: Path, tmp_path: Path
) -> None:
    """One server whose certificate changes; tests/consul/test_tls.py has the probe."""
    authority = Authority()
    trusted = TlsMaterial(ca=authority.pem)
    with side(consul_bin, envoy_bin, tmp_path, authority) as here:
        for sans, name, expected in FOUND:
            issued = authority.issue(sans, subject=name)
            here.cluster.replace_tls(ServerTls(authority.pem, issued))
            xds = replace(here.xds, server_name=name)
            with here.envoy(xds, trusted) as envoy:
                if expected:
                    here.wait_connected(envoy)
                else:
                    wait_until(lambda e=envoy: here.refused(e) > 1, f"{name} refused")  # type: ignore[misc]
                    assert not envoy.configured, (sans, name)
