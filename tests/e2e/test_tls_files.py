"""TLS files that change for the worse under a running controller and its Envoys."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.certificates import Authority
from tests.lab.consul import GRPC_TLS_PORT, ConsulCluster, ServerTls
from tests.lab.envoy import EnvoyProcess
from tests.lab.mesh import Mesh
from tests.lab.processes import LabError, wait_until

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.consul,
    pytest.mark.envoy,
    pytest.mark.slow,
]

LOOKED = 7.0
"""Seconds in which the controller looks at the files more than once."""


class Trusting:
    """A cluster of one server, its CA, and what the controller is to trust."""

    def __init__(self, consul: Path, directory: Path) -> None:
        self.authority = Authority()
        self.directory = directory
        tls = ServerTls(self.authority.pem, self.authority.issue())
        self.cluster = ConsulCluster(consul, size=1, tls=tls)

    def config(self, ca_certs: Path) -> dict[str, Any]:
        """Return the table that takes the place of the mesh's own."""
        return {
            "consul": {
                "http_addresses": self.cluster.https_addresses,
                "datacenter": "dc1",
                "tls": {"ca_certs": str(ca_certs)},
            }
        }


@pytest.fixture
def trusting(consul_bin: Path, tmp_path: Path) -> Iterator[Trusting]:
    made = Trusting(consul_bin, tmp_path)
    with made.cluster:
        yield made


def test_fault_121_a_truncated_ca_costs_nobody_anything(
    trusting: Trusting, envoy_bin: Path
) -> None:
    """Streams go on, tls-ca.json stays, a new Envoy connects; said once."""
    ca = trusting.directory / "ca.pem"
    ca.write_text(trusting.authority.pem)
    config = trusting.config(ca)
    with Mesh(trusting.cluster, envoy_bin, proxies=3, config=config) as mesh:
        mesh.start_envoys(20)
        run = mesh.controller.bootstraps
        connects = {p: e.upstream_cx_total for p, e in mesh.envoys.items()}
        before = {file: file.read_text() for file in run.glob("*/tls-ca.json")}
        assert 3 == len(before)
        for half in ("", trusting.authority.pem[:200], "no certificate"):
            ca.write_text(half)
            time.sleep(LOOKED)
            assert before == {file: file.read_text() for file in before}
        ca.unlink()
        time.sleep(LOOKED)
        assert before == {file: file.read_text() for file in before}
        assert connects == {p: e.upstream_cx_total for p, e in mesh.envoys.items()}
        assert all(envoy.connected_state for envoy in mesh.envoys.values())
        states = {each["state"] for each in mesh.controller.status()["servers"]}
        assert {"ready"} == states

        first = next(iter(mesh.envoys))
        mesh.envoys[first].kill()
        with EnvoyProcess(
            envoy_bin, mesh.controller.bootstrap(first), cgroup=mesh.cgroup
        ) as envoy:
            envoy.wait_connected(20, port=GRPC_TLS_PORT)
        log = mesh.controller.log()
        for why in ("it is empty", "is cut off", "ca.pem: not PEM certificates;"):
            assert 1 == sum(
                why in line and "keeping the last good ones" in line
                for line in log.splitlines()
            ), why

        new = Authority("rsa")
        ca.write_text(trusting.authority.pem + new.pem)
        (some,) = list(before)[:1]
        wait_until(lambda: before[some] != some.read_text(), "the new CA", 15)


def test_fault_121_a_start_without_a_ca_is_refused(
    trusting: Trusting, envoy_bin: Path
) -> None:
    """By the file's name; what a controller before left stays as it is."""
    ca = trusting.directory / "ca.pem"
    ca.write_text(trusting.authority.pem)
    config = trusting.config(ca)
    with Mesh(trusting.cluster, envoy_bin, proxies=1, config=config) as mesh:
        mesh.start_envoys(20)
        mesh.controller.terminate()
        ca.write_text("")
        with pytest.raises(LabError):
            mesh.controller.start()
        assert "ca.pem: not PEM certificates: it is empty" in mesh.controller.log()
        (envoy,) = mesh.envoys.values()
        assert envoy.connected_state
        assert list(mesh.controller.bootstraps.glob("*/tls-ca.json"))


def test_fault_122_a_directory_with_keys_gives_certificates_alone(
    trusting: Trusting, envoy_bin: Path
) -> None:
    """Every byte of what an Envoy is given is looked at."""
    directory = trusting.directory / "ca.d"
    directory.mkdir()
    own = trusting.authority.issue()
    text = f"# Schlüssel: siehe unten\n{own.key}{trusting.authority.pem}"
    (directory / "ca.pem").write_text(text)
    (directory / "ca-key.pem").write_text(own.key)
    (directory / "ca.key").write_text(own.key)
    config = trusting.config(directory)
    with Mesh(trusting.cluster, envoy_bin, proxies=1, config=config) as mesh:
        mesh.start_envoys(20)
        (given,) = mesh.controller.bootstraps.glob("*/tls-ca.json")
        text = given.read_bytes().decode("ascii")
        assert "PRIVATE" not in text
        secret = own.key.splitlines()[1:-1]
        for file in mesh.controller.bootstraps.rglob("*"):
            if file.is_file():
                content = file.read_text()
                assert not [line for line in secret if line in content], file
        assert text.count("BEGIN") == text.count("BEGIN CERTIFICATE-----") == 1
