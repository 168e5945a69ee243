"""A host with a dead server, looked at by status, the page and the metrics."""

import http.client
import json
import subprocess
from typing import Any

import pytest

from consul_ebpf.views.timeline import TIMELINE_FILE
from tests.lab.controller import COMMAND
from tests.lab.mesh import Mesh
from tests.lab.processes import wait_until

pytestmark = [pytest.mark.kernel, pytest.mark.consul, pytest.mark.envoy]

LISTEN = "127.0.0.1:20393"


def fetched(path: str) -> str:
    connection = http.client.HTTPConnection(LISTEN, timeout=20)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        assert answer.status == 200
        return str(answer.read().decode())
    finally:
        connection.close()


def status(mesh: Mesh, *more: str) -> tuple[int, str]:
    command = [*COMMAND, "status", *mesh.controller.arguments, *more]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=30
    )
    return done.returncode, done.stdout


def seen(mesh: Mesh) -> dict[str, Any]:
    """Return what is known of each proxy, by id."""
    told = json.loads(status(mesh, "--json")[1])
    return {each["id"]: each for each in told["proxies"]}


def test_whoever_looks_is_told_which_server_died_and_who_moved(mesh: Mesh) -> None:
    """With exit codes for scripts; also when the controller has died, too."""
    assert status(mesh, "--exit-code")[0] == 0
    wait_until(lambda: "is ready" in status(mesh)[1], "the first look")
    dead, moved = mesh.cluster.grpc_endpoints[0], mesh.on_server(0)
    mesh.kill_server(0)
    what = f"server {dead} does not answer"
    wait_until(lambda: what in fetched("/"), "the page says it")
    assert 'class="server failing"' in fetched("/")
    assert 'consul_ebpf_ailments{level="degraded"} 1.0' in fetched("/metrics")
    code, said = status(mesh, "--exit-code")
    assert (5, "DEGRADED: 2 of 3 servers ready") == (code, said.partition(",")[0])
    assert what in said.splitlines()[2]
    wait_until(lambda: all(seen(mesh)[each]["moves"] for each in moved), "the moves")
    mesh.controller.kill()
    code, said = status(mesh, "--json", "--exit-code")
    told = json.loads(said)
    assert (5, "degraded") == (code, told["verdict"]["level"])
    assert all(each["since"] for each in told["servers"] + told["proxies"])
    assert {"moved", "server_failing"} <= {each["kind"] for each in told["timeline"]}


def test_a_server_that_dies_with_the_controller_dead_is_told(mesh: Mesh) -> None:
    """Who left it and when, by the kernel's account; nobody else looked."""
    victim = next(n for n in range(3) if mesh.on_server(n))
    dead, moved = mesh.cluster.grpc_endpoints[victim], mesh.on_server(victim)
    told = mesh.controller.bootstraps / TIMELINE_FILE
    wait_until(lambda: all(each in told.read_text() for each in moved), "all are known")
    mesh.controller.kill()
    mesh.kill_server(victim)
    said = status(mesh)[1]
    assert f"server {dead} may be dead: nobody probes it" in said
    assert f" moved from {dead} to " in said
    assert all(each in said for each in moved)
