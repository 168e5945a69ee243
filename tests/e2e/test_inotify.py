"""Envoys with TLS and tokens where the kernel grants few inotify instances."""

from contextlib import ExitStack
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from consul_ebpf.base.tls import TlsMaterial
from consul_ebpf.config.schema import Config, Consul, Tls
from consul_ebpf.envoy.bootstrap import EnvoyBootstrap
from consul_ebpf.envoy.files import BootstrapFiles
from consul_ebpf.envoy.tls import XdsTls
from consul_ebpf.model.values import PlacedProxy, Proxy, Vip
from consul_ebpf.wiring.files import instances_per_envoy
from tests.lab.certificates import Authority
from tests.lab.consul import GRPC_TLS_PORT, ConsulCluster, ServerTls
from tests.lab.envoy import EnvoyProcess
from tests.lab.processes import inotify_instances
from tests.lab.scratch import scratch_userns

pytestmark = [pytest.mark.consul, pytest.mark.envoy]

ENVOYS = 12
GRANTED = 16


@pytest.mark.parametrize("client_certificate", [False, True])
def test_fault_112_twelve_envoys_where_there_is_room_for_sixteen_instances(
    consul_bin: Path, envoy_bin: Path, tmp_path: Path, *, client_certificate: bool
) -> None:
    """One each, and none for the token: all start and get their configuration.

    With a client certificate it is two each, as `doctor` counts.
    """
    authority = Authority()
    ours = authority.issue()
    tls = ServerTls(
        authority.pem, authority.issue(), verify_incoming=client_certificate
    )
    files = BootstrapFiles(tmp_path)
    xds = XdsTls("server.dc1.consul", ca_file=files.tls_ca_path)
    material = TlsMaterial(authority.pem)
    config = Tls(ca_certs="ca.pem")
    if client_certificate:
        xds = XdsTls(
            xds.server_name, ca_file=xds.ca_file, cert_file=files.tls_cert_path
        )
        material = TlsMaterial(authority.pem, ours.cert, ours.key)
        config = Tls(ca_certs="ca.pem", cert="cert.pem", key="key.pem")
    each = instances_per_envoy(Config(consul=Consul(tls=config)))
    renderer = EnvoyBootstrap(tls=xds, token_file=files.token_path)
    with ExitStack() as stack:
        cluster = ConsulCluster(consul_bin, size=1, acl=True, tls=tls)
        stack.enter_context(cluster)
        before = stack.enter_context(scratch_userns(each * GRANTED))
        (server,) = cluster.addresses
        envoys = []
        for number in range(ENVOYS):
            name = f"web-{number}"
            proxy = Proxy(
                cluster.register_proxy(name),
                "host1-virtual",
                service=name,
                admin=(server, 19000 + number),
            )
            placed = PlacedProxy(proxy, Vip(IPv4Address(server), GRPC_TLS_PORT))
            identity = {"ServiceIdentities": [{"ServiceName": name}]}
            token = cluster.call("PUT", "/v1/acl/token", identity)["SecretID"]
            files.write_token(proxy, token)
            files.write_tls(proxy, material)
            files.write(placed, renderer.render(placed))
            path = files.bootstrap_path(proxy)
            envoys.append(
                stack.enter_context(EnvoyProcess(envoy_bin, path, before=before))
            )
        for envoy in envoys:
            envoy.wait_connected(60, port=GRPC_TLS_PORT)
        assert [inotify_instances(envoy.child.pid) for envoy in envoys] == (
            [each] * ENVOYS
        )


def test_fault_112_beyond_the_limit_an_envoy_ends(
    envoy_bin: Path, tmp_path: Path
) -> None:
    """So the limit of the test above is one that bites."""
    files = BootstrapFiles(tmp_path)
    proxy = Proxy("web-1", "n")
    placed = PlacedProxy(proxy, Vip(IPv4Address("127.64.0.1"), 8502))
    files.write_tls(proxy, TlsMaterial(Authority().pem))
    xds = XdsTls("server.dc1.consul", ca_file=files.tls_ca_path)
    files.write(placed, EnvoyBootstrap(tls=xds).render(placed))
    path = files.bootstrap_path(proxy)
    with (
        scratch_userns(0) as before,
        EnvoyProcess(envoy_bin, path, before=before) as envoy,
    ):
        assert envoy.child.wait(20) != 0
