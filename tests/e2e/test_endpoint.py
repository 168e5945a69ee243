"""The local endpoint of a real controller, and the commands that use it."""

import http.client
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab import endpoint
from tests.lab.consul import ConsulCluster
from tests.lab.envoy import EnvoyProcess
from tests.lab.mesh import Mesh
from tests.lab.processes import LabError, wait_until

pytestmark = [pytest.mark.kernel, pytest.mark.consul, pytest.mark.envoy]

LISTEN = "127.0.0.1:20390"


@pytest.fixture(scope="module")
def cluster(consul_bin: Path) -> Iterator[ConsulCluster]:
    with ConsulCluster(consul_bin, size=1) as cluster:
        for n in range(4):
            cluster.register_proxy(f"idle-{n}")
        yield cluster


@pytest.fixture
def mesh(cluster: ConsulCluster, envoy_bin: Path) -> Iterator[Mesh]:
    config = {"api": {"listen": LISTEN}}
    with Mesh(cluster, envoy_bin, proxies=1, config=config) as mesh:
        yield mesh


def ask(mesh: Mesh, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    return endpoint.ask(mesh.controller.bootstraps / "api.sock", method, path, body)


def over_tcp(method: str, path: str, host: str = LISTEN) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(LISTEN, timeout=20)
    connection.request(method, path, headers={"Host": host})
    try:
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_a_proxy_comes_and_goes_at_run_time(
    mesh: Mesh, cluster: ConsulCluster, envoy_bin: Path
) -> None:
    """Registered, started, waited for, removed; told at each step; kept on restart."""
    proxy = cluster.register_proxy("late")
    entry = {"node": "host1-virtual", "admin": f"{cluster.addresses[0]}:19077"}
    assert ask(mesh, "GET", f"/v1/proxies/{proxy}")[0] == 404
    assert ask(mesh, "PUT", f"/v1/proxies/{proxy}", entry)[0] == 201
    status, answer = ask(mesh, "GET", f"/v1/proxies/{proxy}?wait=bootstrap&timeout=10")
    assert status == 200, answer
    assert answer["programmed"]
    assert answer["ready"]
    assert not answer["connected"]
    status, answer = ask(mesh, "GET", f"/v1/proxies/{proxy}?wait=connected&timeout=0.5")
    assert status == 504
    assert "no connection to a Consul server" in answer["error"]
    with EnvoyProcess(
        envoy_bin, Path(answer["proxy"]["bootstrap"]), cgroup=mesh.cgroup
    ) as envoy:
        mesh.controller.run("wait", "--proxy", proxy, "--timeout", "20")
        envoy.wait_connected(20)
        _, answer = ask(mesh, "GET", f"/v1/proxies/{proxy}")
        assert answer["connected"]
        assert answer["server"] == cluster.grpc_endpoints[0]
        mesh.controller.kill()
        mesh.controller.start()
        assert (
            ask(mesh, "GET", f"/v1/proxies/{proxy}?wait=connected&timeout=10")[0] == 200
        )
        assert ask(mesh, "PUT", f"/v1/proxies/{proxy}", entry)[0] == 200
        assert ask(mesh, "DELETE", f"/v1/proxies/{proxy}")[0] == 204
        wait_until(
            lambda: ask(mesh, "GET", f"/v1/proxies/{proxy}")[0] == 404, "it is gone"
        )
    assert not (mesh.controller.bootstraps / proxy).exists()
    assert ask(mesh, "DELETE", f"/v1/proxies/{proxy}")[0] == 404
    cluster.deregister("late")


def test_who_may_write(mesh: Mesh) -> None:
    """Root over the socket; not over TCP, not nobody, and not another's proxy."""
    path = mesh.controller.bootstraps / "api.sock"
    wait_until(path.exists, "the socket")
    assert over_tcp("PUT", "/v1/proxies/x")[0] == 403
    assert over_tcp("GET", "/v1/proxies")[0] == 200
    assert over_tcp("GET", "/v1/proxies", host="evil.example:20390")[0] == 403
    status, answer = ask(mesh, "DELETE", "/v1/proxies/web-1-sidecar-proxy")
    assert status == 409
    assert "it is of configuration" in answer["error"]
    secret = {"credentials": {"type": "static", "token": "s3cr3t"}}
    status, answer = ask(mesh, "PUT", "/v1/proxies/x", secret)
    assert status == 400
    assert "token_file" in answer["error"]
    assert "s3cr3t" not in answer["error"]
    assert ask(mesh, "PUT", "/v1/proxies/x", {"nod": "y"})[0] == 400
    assert ask(mesh, "PUT", "/v1/proxies/x", [1])[0] == 400
    mesh.controller.bootstraps.parent.chmod(0o755)  # pytest's own is closed
    code = f"""if True:
        import os, socket
        os.setgroups([]); os.setgid(65534); os.setuid(65534)
        s = socket.socket(socket.AF_UNIX); s.connect({str(path)!r})
        s.sendall(b"PUT /v1/proxies/x HTTP/1.0\\r\\nHost: localhost\\r\\n\\r\\n")
        print(s.recv(4096).decode())"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert " 403 " in done.stdout
    assert "uid 65534 may not register proxies" in done.stdout


def test_metrics_and_status(mesh: Mesh) -> None:
    """All that the dashboard asks for, once an Envoy is there."""
    mesh.start_envoys(20)
    text = over_tcp("GET", "/metrics")[1].decode()
    proxy, (server,) = "web-1-sidecar-proxy", mesh.cluster.grpc_endpoints
    for line in (
        f'consul_ebpf_proxy_open{{proxy="{proxy}"}} 1.0',
        f'consul_dataplane_envoy_connected{{proxy="{proxy}"}} 1.0',
        f'consul_ebpf_server_ready{{server="{server}"}} 1.0',
        f'consul_ebpf_server_open{{server="{server}"}} 1.0',
        "consul_ebpf_attached 1.0",
        'consul_ebpf_servers{state="ready"} 1.0',
    ):
        assert line in text.splitlines(), line
    for work in ("discovery", "probe", "plan", "apply", "render", "central"):
        assert f'work_duration_seconds_count{{work="{work}"}}' in text
        assert f'consul_ebpf_work_age_seconds{{work="{work}"}}' in text
    status, answer = ask(mesh, "GET", "/v1/status")
    assert status == 200
    assert answer["controller"]["running"]
    assert ask(mesh, "GET", "/v1/health") == (200, {"status": "ok", "ready": True})


def test_envoy_waits_for_its_bootstrap(
    mesh: Mesh, cluster: ConsulCluster, tmp_path: Path
) -> None:
    """Says what for, becomes Envoy as soon as it can, or ends in time."""
    fake = tmp_path / "fake-envoy"
    fake.write_text('#!/bin/sh\necho "$0 $@"\n')
    fake.chmod(0o755)
    setting = f"envoy.executable={fake}"
    with pytest.raises(LabError, match=r"is not there after 1 s .*nobody has asked"):
        mesh.controller.run(
            "envoy", "--proxy", "later", "--wait", "1", "--set", setting
        )
    proxy = cluster.register_proxy("later")

    def register() -> None:
        time.sleep(1.5)
        ask(mesh, "PUT", f"/v1/proxies/{proxy}", {"node": "host1-virtual"})

    thread = threading.Thread(target=register)
    thread.start()
    said = mesh.controller.run(
        *("envoy", "-proxy-id", proxy, "--set", setting, "--", "-l", "warning")
    )
    thread.join()
    bootstrap = mesh.controller.bootstrap(proxy)
    assert f"{fake} -c {bootstrap} " in said
    assert "--concurrency 2 --drain-time-s 30 --drain-strategy immediate" in said
    assert said.count("--log-level") == 0
    assert said.strip().endswith("-l warning")
    mesh.controller.kill()
    mesh.controller.run("wait", "--proxy", proxy, "--for", "programmed")
    mesh.controller.run("wait", "--proxy", proxy, "--for", "bootstrap")
    with pytest.raises(LabError, match="no controller answers at"):
        mesh.controller.run("wait", "--proxy", proxy, "--timeout", "0.5")
    cluster.deregister("later")


def test_stop_drains_and_ends_an_envoy(mesh: Mesh) -> None:
    """After its grace period, not before; its configuration is printed first."""
    (proxy,) = mesh.start_envoys(20)
    envoy = mesh.envoys[proxy]
    began = time.monotonic()
    said = mesh.controller.run(
        *("stop", "-proxy-id", proxy, "-shutdown-drain-listeners"),
        *("-dump-envoy-config-on-exit", "-shutdown-grace-period-seconds", "2"),
    )
    assert time.monotonic() - began > 2
    assert not envoy.child.running
    names = {each["@type"].rpartition(".")[2] for each in json.loads(said)["configs"]}
    assert {"BootstrapConfigDump", "EndpointsConfigDump"} <= names
    with pytest.raises(LabError, match="Connection refused"):
        mesh.controller.run("stop", "--proxy", proxy)


def test_central_configuration_that_changes(
    cluster: ConsulCluster, envoy_bin: Path
) -> None:
    """Noticed, written, and said; with it Envoy serves /metrics itself."""
    config = {"bootstrap": {"refresh": 0.5}}
    with Mesh(cluster, envoy_bin, proxies=1, config=config) as mesh:
        path = mesh.controller.bootstrap("web-1-sidecar-proxy")
        assert "listeners" not in json.loads(path.read_text())["static_resources"]
        address = f"{cluster.addresses[0]}:20201"
        entry = {
            "Kind": "proxy-defaults",
            "Name": "global",
            "Config": {"envoy_prometheus_bind_addr": address},
        }
        cluster.call("PUT", "/v1/config", entry)
        try:
            wait_until(
                lambda: address.partition(":")[2] in path.read_text(), "a change"
            )
            said = "proxy web-1-sidecar-proxy: its bootstrap has changed"
            wait_until(lambda: said in mesh.controller.log(), "the line")
            mesh.start_envoys(20)
            connection = http.client.HTTPConnection(address, timeout=5)
            connection.request("GET", "/metrics")
            answer = connection.getresponse()
            text = answer.read()
            connection.close()
            assert answer.status == 200
            assert b"consul_source_service" in text
        finally:
            cluster.call("DELETE", "/v1/config/proxy-defaults/global")
