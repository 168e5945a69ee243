"""Where a real controller's proxies come from, and what no restart takes from them."""

import json
import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.lab import endpoint
from tests.lab.consul import ConsulCluster
from tests.lab.controller import ControllerProcess
from tests.lab.envoy import EnvoyProcess
from tests.lab.mesh import Mesh
from tests.lab.processes import wait_until

pytestmark = [pytest.mark.kernel, pytest.mark.consul, pytest.mark.envoy]


@pytest.fixture(scope="module")
def cluster(consul_bin: Path) -> Iterator[ConsulCluster]:
    with ConsulCluster(consul_bin, size=1) as cluster:
        yield cluster


def proxies(controller: ControllerProcess) -> dict[str, Any]:
    return {each["id"]: each for each in controller.status()["proxies"]}


def vips(controller: ControllerProcess) -> dict[str, str]:
    return {name: each["vip"] for name, each in proxies(controller).items()}


def ask(mesh: Mesh, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    return endpoint.ask(mesh.controller.bootstraps / "api.sock", method, path, body)


def test_fault_85_streams_outlive_a_restart_with_a_broken_drop_in(
    cluster: ConsulCluster, envoy_bin: Path, tmp_path: Path
) -> None:
    """VIPs, files and connections stay; a file that is removed is gone as ever."""
    host = cluster.addresses[0]
    files = [tmp_path / f"web-{n}.toml" for n in (1, 2, 3)]
    for n, file in enumerate(files, 1):
        file.write_text(
            f'[[proxies]]\nid = "web-{n}-sidecar-proxy"\nnode = "host1-virtual"\n'
            f'service = "web-{n}"\nadmin = "{host}:{19000 + n}"\n'
        )
    config = {"proxies": [], "workloads": {"directory": str(tmp_path)}}
    with Mesh(cluster, envoy_bin, proxies=3, config=config) as mesh:
        mesh.start_envoys(20)
        before = vips(mesh.controller)
        assert len(before) == 3
        opened = {name: each.upstream_cx_total for name, each in mesh.envoys.items()}
        bootstraps = {name: mesh.controller.bootstrap(name).stat() for name in before}

        mesh.controller.kill()
        files[0].write_text(files[0].read_text()[:-3])  # half written
        files[1].write_text("")
        files[2].unlink()
        os.mkfifo(files[2])
        for start in (1, 2):
            mesh.controller.start()
            _wait_said(mesh, "keeping its last 1 proxies", 3 * start)
            assert before == vips(mesh.controller)
            for name, envoy in mesh.envoys.items():
                assert envoy.connected_state
                assert envoy.upstream_cx_total == opened[name]
                now = mesh.controller.bootstrap(name).stat()
                assert now.st_ino == bootstraps[name].st_ino
            mesh.controller.kill()

        mesh.controller.start()
        files[2].unlink()
        gone = "web-3-sidecar-proxy"
        wait_until(lambda: gone not in vips(mesh.controller), "the removed one gone")
        assert vips(mesh.controller).items() < before.items()


def _wait_said(mesh: Mesh, words: str, times: int) -> None:
    wait_until(lambda: mesh.controller.log().count(words) >= times, words)


def test_fault_87_sixty_registered_at_once_outlive_a_kill(
    cluster: ConsulCluster, envoy_bin: Path
) -> None:
    """Each is answered 201; after kill -9 all are there."""
    ids = {f"many-{n}" for n in range(60)}
    with Mesh(cluster, envoy_bin, proxies=0) as mesh:
        socket = mesh.controller.bootstraps / "api.sock"
        wait_until(socket.exists, "the socket")
        with ThreadPoolExecutor(60) as pool:
            answers = pool.map(
                lambda name: ask(mesh, "PUT", f"/v1/proxies/{name}", {"node": "h"}), ids
            )
            statuses = [status for status, _ in answers]
        mesh.controller.kill()
        assert statuses == [201] * 60
        mesh.controller.start()
        wait_until(lambda: vips(mesh.controller).keys() == ids, "all sixty", 30)


def test_fault_88_what_would_be_fatal_is_refused(
    cluster: ConsulCluster, envoy_bin: Path
) -> None:
    """By PUT; and where an earlier version kept it, the controller starts and says."""
    fatal = {"type": "login", "auth_method": "x", "bearer_token_file": "/a\0b"}
    with Mesh(cluster, envoy_bin, proxies=0) as mesh:
        socket = mesh.controller.bootstraps / "api.sock"
        wait_until(socket.exists, "the socket")
        path = "/v1/proxies/late"
        status, answer = ask(mesh, "PUT", path, {"credentials": fatal})
        assert status == 400
        assert "bearer_token_file: holds a control character" in answer["error"]
        assert ask(mesh, "PUT", path, {"node": "h"})[0] == 201
        mesh.controller.kill()
        kept = mesh.controller.bootstraps / "registered.json"
        content = json.loads(kept.read_text())
        bad = {**content["content"][0], "id": "bad", "credentials": fatal}
        content["content"].append(bad)
        del content["checksum"]
        kept.write_text(json.dumps(content))
        mesh.controller.start()
        wait_until(lambda: vips(mesh.controller).keys() == {"late"}, "the good one")
        assert "proxy 'bad': credentials.bearer_token_file" in mesh.controller.log()
        assert ask(mesh, "DELETE", "/v1/proxies/bad")[0] == 204


def test_fault_89_two_envoys_of_one_catalog_node(
    cluster: ConsulCluster, envoy_bin: Path
) -> None:
    """Each has its own admin address, the same one after a restart; `status` says."""
    node, host = "host7-virtual", cluster.addresses[0]
    ids = [cluster.register_proxy(f"two-{n}", node=node) for n in (1, 2)]
    config = {
        "workloads": {"catalog_nodes": [node]},
        "envoy": {"admin": f"{host}:19400"},
    }
    with Mesh(cluster, envoy_bin, proxies=0, config=config) as mesh, ExitStack() as on:
        envoys = []
        for name in ids:
            path = mesh.controller.bootstrap(name)
            envoys.append(
                on.enter_context(EnvoyProcess(envoy_bin, path, cgroup=mesh.cgroup))
            )
        for envoy in envoys:
            envoy.wait_connected(20)
        expected = {ids[0]: f"{host}:19400", ids[1]: f"{host}:19401"}

        def admins() -> dict[str, str]:
            seen = proxies(mesh.controller)
            return {name: each["admin"] for name, each in seen.items()}

        assert expected == admins()
        mesh.controller.kill()
        third = cluster.register_proxy("one-more", node=node)
        mesh.controller.start()
        expected[third] = f"{host}:19402"
        wait_until(lambda: admins() == expected, "the third's own")
        for envoy in envoys:
            envoy.child.must_run()
            assert envoy.connected_state
    for name in ("two-1", "two-2", "one-more"):
        cluster.deregister(name, node=node)


def test_fault_86_the_catalog_takes_nothing_from_a_registered_proxy(
    cluster: ConsulCluster, envoy_bin: Path, tmp_path: Path
) -> None:
    """Its binding and its own token stay, whoever names its id, over a restart."""
    node = "host6-virtual"
    proxy = "mine-sidecar-proxy"
    config = {"workloads": {"catalog_nodes": [node]}}
    token = tmp_path / "token"
    token.write_text("0" * 8)
    with subprocess.Popen(["unshare", "--net", "sleep", "600"]) as other:
        try:
            _check_takes_nothing(cluster, envoy_bin, config, token, other.pid)
        finally:
            other.kill()
    cluster.deregister("mine", node=node)
    assert proxy


def _check_takes_nothing(
    cluster: ConsulCluster,
    envoy_bin: Path,
    config: dict[str, Any],
    token: Path,
    pid: int,
) -> None:
    (node,) = config["workloads"]["catalog_nodes"]
    entry = {
        "node": "host1-virtual",
        "netns": f"/proc/{pid}/ns/net",
        "credentials": {"type": "static", "token_file": str(token)},
    }
    with Mesh(cluster, envoy_bin, proxies=0, config=config) as mesh:
        socket = mesh.controller.bootstraps / "api.sock"
        wait_until(socket.exists, "the socket")
        name = "mine-sidecar-proxy"
        assert ask(mesh, "PUT", f"/v1/proxies/{name}", entry)[0] == 201
        wait_until(lambda: name in proxies(mesh.controller), "programmed")
        before = proxies(mesh.controller)[name]
        assert before["bound"] == ["netns"]
        assert cluster.register_proxy("mine", node=node) == name
        said = f"proxy '{name}' (catalog node {node}): refused"
        wait_until(lambda: said in mesh.controller.log(), "the line")
        for _ in range(2):
            now = proxies(mesh.controller)[name]
            assert (now["vip"], now["bound"]) == (before["vip"], before["bound"])
            _, view = ask(mesh, "GET", f"/v1/proxies/{name}")
            assert view["owner"] == "registered at run time"
            mesh.controller.kill()
            mesh.controller.start()
            wait_until(lambda: name in proxies(mesh.controller), "programmed again")
        assert mesh.controller.log().count(said) == 3  # once for each start
