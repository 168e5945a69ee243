"""Nothing is ever sent to an address that nobody configured."""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.certificates import Authority
from tests.lab.consul import GRPC_TLS_PORT, ConsulCluster, ServerTls
from tests.lab.jwt import METHOD, Issuer
from tests.lab.mesh import Mesh
from tests.lab.trap import Trap

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.consul,
    pytest.mark.envoy,
    pytest.mark.timeout(600),
]

DEFAULTS = (8500, 8501, 8502, 8503, 8600)
"""Consul's own ports: where a client asks that was told nothing."""

NAME = "web-1"


@pytest.fixture(scope="module")
def secured(consul_bin: Path) -> Iterator[tuple[ConsulCluster, Issuer, str]]:
    """Three servers with ACLs, TLS and an auth method; its CA's file."""
    authority, issuer = Authority(), Issuer()
    with tempfile.TemporaryDirectory() as directory:
        ca = Path(directory) / "ca.pem"
        ca.write_text(authority.pem)
        tls = ServerTls(authority.pem, authority.issue())
        with ConsulCluster(consul_bin, acl=True, tls=tls) as cluster:
            issuer.install(cluster, "60s")
            yield cluster, issuer, str(ca)


@pytest.mark.parametrize("source", ["watch", "static", "dns"])
def test_fault_115_nothing_goes_to_an_address_nobody_configured(
    secured: tuple[ConsulCluster, Issuer, str],
    envoy_bin: Path,
    tmp_path: Path,
    source: str,
) -> None:
    """Logins, lifetimes and log-outs go to the servers alone, over gRPC and TLS."""
    cluster, issuer, ca = secured
    login = {
        "type": "login",
        "auth_method": METHOD,
        "bearer_token_file": str(issuer.write(tmp_path / "c.jwt", "controller")),
    }
    own = str(issuer.write(tmp_path / "p.jwt", NAME))
    config: dict[str, Any] = {
        "consul": {
            "source": source,
            "addresses": list(cluster.addresses),
            "grpc_port": GRPC_TLS_PORT,
            "datacenter": "dc1",
            "tls": {"ca_certs": ca},
            "credentials": login,
        },
        "proxies": [
            {
                "id": f"{NAME}-sidecar-proxy",
                "node": "host1-virtual",
                "service": NAME,
                "admin": f"{cluster.addresses[0]}:19001",
                "credentials": {"type": "login", "bearer_token_file": own},
            }
        ],
    }
    with (
        Trap(DEFAULTS) as trap,
        Mesh(cluster, envoy_bin, proxies=1, config=config) as mesh,
    ):
        mesh.start_envoys(30)
        time.sleep(5)
        assert list(mesh.controller.bootstraps.glob("*/token.json"))
    assert [] == trap.heard
