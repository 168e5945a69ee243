"""A day of other people's mistakes: three Envoys go through them on one stream each."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.certificates import Authority
from tests.lab.consul import GRPC_TLS_PORT, ConsulCluster, ServerTls
from tests.lab.controller import toml
from tests.lab.jwt import METHOD, Issuer
from tests.lab.mesh import Mesh
from tests.lab.processes import wait_until

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.consul,
    pytest.mark.envoy,
    pytest.mark.timeout(300),
]

TYPO = '{"http": {"name": "envoy.tracers.zipkin",}}'
"""JSON with one comma too many."""

NAMES = ["web-1", "web-2", "web-3"]


class Host:
    """A secured cluster, and a host that has its proxies from three places."""

    def __init__(self, consul: Path, directory: Path) -> None:
        self.authority = Authority()
        self.issuer = Issuer()
        self.ca = directory / "ca.pem"
        self.ca.write_text(self.authority.pem)
        self.drop_ins = directory / "proxies.d"
        self.drop_ins.mkdir()
        self._directory = directory
        tls = ServerTls(self.authority.pem, self.authority.issue())
        self.cluster = ConsulCluster(consul, acl=True, tls=tls)

    def entry(self, n: int) -> dict[str, Any]:
        """One proxy with a login of its own."""
        bearer = self._directory / f"web-{n}.jwt"
        self.issuer.write(bearer, f"web-{n}")
        return {
            "id": f"web-{n}-sidecar-proxy",
            "node": "host1-virtual",
            "service": f"web-{n}",
            "admin": f"{self.cluster.addresses[0]}:{19000 + n}",
            "credentials": {"type": "login", "bearer_token_file": str(bearer)},
        }

    def config(self) -> dict[str, Any]:
        """Two proxies in the configuration, the third in a drop-in file."""
        controller = self.issuer.write(self._directory / "host.jwt", "controller")
        (self.drop_ins / "web-3.toml").write_text(toml({"proxies": [self.entry(3)]}))
        return {
            "consul": {
                "http_addresses": self.cluster.https_addresses,
                "datacenter": "dc1",
                "tls": {"ca_certs": str(self.ca)},
                "credentials": {
                    "type": "login",
                    "auth_method": METHOD,
                    "bearer_token_file": str(controller),
                },
            },
            "bootstrap": {"refresh": 1.0},
            "workloads": {"directory": str(self.drop_ins)},
            "proxies": [self.entry(1), self.entry(2)],
        }


@pytest.fixture
def host(consul_bin: Path, tmp_path: Path) -> Iterator[Host]:
    made = Host(consul_bin, tmp_path)
    with made.cluster as cluster:
        made.issuer.install(cluster, "1h")
        # Room for all on each server: Consul ends no stream of its own accord.
        for n in range(12):
            cluster.register_proxy(f"idle-{n}")
        yield made


def streams(mesh: Mesh) -> dict[str, int]:
    """How many connections each Envoy has made so far."""
    return {proxy: envoy.upstream_cx_total for proxy, envoy in mesh.envoys.items()}


def files(mesh: Mesh) -> dict[str, bytes]:
    """Return what the Envoys were given."""
    return {
        str(path.relative_to(mesh.controller.bootstraps)): path.read_bytes()
        for path in mesh.controller.bootstraps.glob("web-*/*")
    }


def said(mesh: Mesh, words: str) -> None:
    """Wait until the controller's log has these words."""
    wait_until(lambda: words in mesh.controller.log(), f"{words!r} in the log", 20)


def write_defaults(cluster: ConsulCluster, config: dict[str, Any]) -> None:
    """Write the central configuration of all proxies."""
    entry = {"Kind": "proxy-defaults", "Name": "global", "Config": config}
    cluster.call("PUT", "/v1/config", entry)


def test_a_day_of_mistakes(host: Host, envoy_bin: Path) -> None:
    """A typo, a truncated CA, a killed server, a restart with a broken drop-in.

    Nobody's stream ends but those on the killed server, and no file is lost.
    """
    cluster = host.cluster
    with Mesh(cluster, envoy_bin, proxies=3, config=host.config()) as mesh:
        mesh.start_envoys(30)
        before, written = streams(mesh), files(mesh)
        vips = {p["id"]: p["vip"] for p in mesh.controller.status()["proxies"]}
        assert len(vips) == 3

        write_defaults(cluster, {"envoy_tracing_json": TYPO})
        said(mesh, "envoy_tracing_json")
        wait_until(
            lambda: "envoy_tracing_json" in mesh.controller.run("status"),
            "the typo in status",
            10,
        )
        assert files(mesh) == written

        pem = host.ca.read_text()
        host.ca.write_text(pem[: len(pem) // 2])
        said(mesh, str(host.ca))
        host.ca.write_text("")
        assert files(mesh) == written
        assert streams(mesh) == before
        host.ca.write_text(pem)

        doomed = mesh.on_server(2)
        mesh.kill_server(2)
        after = streams(mesh)
        for proxy, count in before.items():
            assert (after[proxy] > count) == (proxy in doomed), proxy
        before = after

        mesh.controller.kill()
        (host.drop_ins / "web-3.toml").write_text("[[proxies]]\nid = ")
        mesh.controller.start()
        said(mesh, "web-3.toml")
        status = mesh.controller.status()
        assert {p["id"]: p["vip"] for p in status["proxies"]} == vips
        mesh.wait_connected(since=0.0, timeout=float("inf"))
        assert streams(mesh) == before
        assert files(mesh).keys() == written.keys()
        assert {server["port"] for server in status["servers"]} == {GRPC_TLS_PORT}

        write_defaults(cluster, {})
        wait_until(
            lambda: "envoy_tracing_json" not in mesh.controller.run("status"),
            "the typo is gone from status",
            20,
        )
        assert streams(mesh) == before
    cluster.call("DELETE", "/v1/config/proxy-defaults/global")
