"""Tokens that somebody deletes in Consul, under ACL deny and verified TLS."""

import time
from pathlib import Path

import pytest

from tests.lab.consul import GRPC_TLS_PORT
from tests.lab.endpoint import ask
from tests.lab.envoy import EnvoyProcess
from tests.lab.long import seconds
from tests.lab.mesh import Mesh
from tests.lab.processes import wait_until
from tests.lab.secured import PROXIES, Secured, token_of

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.consul,
    pytest.mark.envoy,
    pytest.mark.slow,
]


@pytest.mark.parametrize("secured", ["1h"], indirect=True)
def test_a_token_that_is_deleted_and_a_proxy_that_goes(
    secured: Secured, envoy_bin: Path
) -> None:
    """The first is replaced as soon as an Envoy meets it; the second's is destroyed."""
    cluster = secured.cluster
    with Mesh(cluster, envoy_bin, proxies=PROXIES, config=secured.config()) as mesh:
        first = next(iter(mesh.start_envoys(20)))
        deleted = token_of(mesh, first)
        cluster.call("DELETE", f"/v1/acl/token/{secured.accessor(first)}")
        mesh.envoys[first].kill()
        with EnvoyProcess(
            envoy_bin, mesh.controller.bootstrap(first), cgroup=mesh.cgroup
        ) as envoy:
            envoy.wait_connected(30, port=GRPC_TLS_PORT)
        assert deleted != token_of(mesh, first)
        said = f"proxy {first}: the servers refuse its ACL token"
        assert mesh.controller.log().count(said) == 1

        late = cluster.register_proxy("late")
        socket = mesh.controller.bootstraps / "api.sock"
        bearer = str(secured.issuer.write(secured.directory / "late.jwt", "late"))
        login = {"type": "login", "bearer_token_file": bearer}
        entry = {"node": "host1-virtual", "credentials": login}
        assert ask(socket, "PUT", f"/v1/proxies/{late}", entry)[0] == 201
        mesh.controller.run("wait", "--proxy", late, "--for", "bootstrap")
        known = secured.accessor(late)
        ask(socket, "DELETE", f"/v1/proxies/{late}")
        wait_until(
            lambda: known not in secured.accessors(), "its token is logged out", 20
        )
        assert not (mesh.controller.bootstraps / late).exists()
        cluster.deregister("late")


@pytest.mark.parametrize("secured", ["0s"], indirect=True)
def test_fault_94_a_deleted_token_that_never_expires(
    secured: Secured, envoy_bin: Path
) -> None:
    """Its Envoy is back with a new one by itself, and that is the only one."""
    cluster = secured.cluster
    with Mesh(cluster, envoy_bin, proxies=PROXIES, config=secured.config()) as mesh:
        first = next(iter(mesh.start_envoys(20)))
        time.sleep(10)
        deleted = token_of(mesh, first)
        cluster.call("DELETE", f"/v1/acl/token/{secured.accessor(first)}")
        begun = time.monotonic()
        wait_until(lambda: token_of(mesh, first) != deleted, "a new token", 90)
        print(f"a new token after {time.monotonic() - begun:.1f} s")
        mesh.envoys[first].wait_connected(30, port=GRPC_TLS_PORT)
        time.sleep(seconds(10, 30))
        assert mesh.controller.log().count(f"proxy {first}: logged in") == 2
        assert mesh.envoys[first].connected_state
        assert len(secured.accessors()) == PROXIES + 1
