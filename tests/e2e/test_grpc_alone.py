"""Logins and verified TLS by gRPC alone, and a server of another name."""

import time
from pathlib import Path

import pytest

from tests.lab.consul import GRPC_TLS_PORT
from tests.lab.mesh import Mesh
from tests.lab.processes import wait_until
from tests.lab.secured import PROXIES, Gaps, Secured, token_of

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.consul,
    pytest.mark.envoy,
    pytest.mark.slow,
]


def test_by_grpc_alone(secured: Secured, envoy_bin: Path) -> None:
    """Servers, logins and renewals with no HTTP, as in consul-dataplane's place."""
    more = {
        "source": "watch",
        "addresses": [secured.cluster.addresses[0]],
        "grpc_port": GRPC_TLS_PORT,
        "http_addresses": ["http://127.0.0.1:1"],
    }
    config = secured.config(**more)
    for each in (config["consul"], *config["proxies"]):
        each["credentials"]["token_ttl"] = 60
    with Mesh(secured.cluster, envoy_bin, proxies=PROXIES, config=config) as mesh:
        mesh.start_envoys(20)
        gaps = Gaps(mesh)
        gaps.start()
        before = {proxy: token_of(mesh, proxy) for proxy in mesh.envoys}
        time.sleep(45)
        gaps.stop()
        assert gaps.worst < 1.0
        for proxy, token in before.items():
            assert token != token_of(mesh, proxy)
        assert "refuse its ACL token" not in mesh.controller.log()
        assert len(mesh.controller.status()["servers"]) == 3


def test_a_wrong_name_never_connects(secured: Secured, envoy_bin: Path) -> None:
    """Neither the controller nor an Envoy: closed, and named in the log."""
    config = secured.config()
    config["consul"]["tls"] |= {
        "server_name": "server.dc2.consul",
        "http_server_name": "localhost",
    }
    with Mesh(secured.cluster, envoy_bin, proxies=PROXIES, config=config) as mesh:
        named = "certificate is not valid for 'server.dc2.consul'"
        wait_until(lambda: named in mesh.controller.log(), "the name in the log", 20)
        assert not list(mesh.controller.bootstraps.glob("*/bootstrap.json"))
