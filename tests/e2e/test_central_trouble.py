"""A typo for all proxies of a cluster, and a boot before Consul's: on real parts."""

import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.consul import ConsulCluster
from tests.lab.controller import ControllerProcess
from tests.lab.mesh import Mesh
from tests.lab.processes import wait_until
from tests.lab.scratch import scratch_bpffs, scratch_cgroup

pytestmark = [pytest.mark.kernel, pytest.mark.consul]

NEW = "web-9-sidecar-proxy"
KEPT = ("bootstrap.json", "token.json")


@pytest.fixture
def cluster(consul_bin: Path) -> Iterator[ConsulCluster]:
    with ConsulCluster(consul_bin) as cluster:
        yield cluster


def proxy_defaults(cluster: ConsulCluster, **config: Any) -> None:
    entry = {"Kind": "proxy-defaults", "Name": "global", "Config": config}
    cluster.call("PUT", "/v1/config", entry)


@pytest.mark.envoy
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("envoy_tracing_json", '{"http": {"name": "envoy.tracers.zipkin",}}'),
        ("envoy_bootstrap_json_tpl", '{"admin": {}}'),
    ],
)
def test_fault_79_a_typo_in_proxy_defaults_takes_no_proxy_down(
    cluster: ConsulCluster, envoy_bin: Path, tmp_path: Path, key: str, value: str
) -> None:
    """Nor does a restart; new tokens are written; a new proxy waits for it to end."""
    token, drop_ins = tmp_path / "token", tmp_path / "proxies.d"
    token.write_text("the-first-token")
    drop_ins.mkdir()
    config = {
        "consul": {
            "http_addresses": cluster.http_addresses,
            "tls": {"disabled": True},
            "credentials": {"type": "static", "token_file": str(token)},
        },
        "bootstrap": {"refresh": 0.5},
        "workloads": {"directory": str(drop_ins)},
    }
    with Mesh(cluster, envoy_bin, proxies=3, config=config) as mesh:
        mesh.start_envoys(20)
        controller = mesh.controller
        files = {
            proxy: [controller.bootstraps / proxy / name for name in KEPT]
            for proxy in mesh.envoys
        }
        bootstraps = {proxy: paths[0].read_bytes() for proxy, paths in files.items()}
        before = placement(controller)
        streams = {each: envoy.upstream_cx_total for each, envoy in mesh.envoys.items()}

        proxy_defaults(cluster, **{key: value})
        wait_until(shows(controller, {*mesh.envoys}, key), "the problem is shown", 20)
        cluster.register_proxy("web-9")
        new = f'[[proxies]]\nid = "{NEW}"\nnode = "host1-virtual"\n'
        (drop_ins / "new.toml").write_text(new)
        token.write_text("the-second-token")
        wait_until(shows(controller, {NEW}, key), "the new one waits", 20)
        everybody = {*mesh.envoys, NEW}
        for restarted in (False, True):
            if restarted:
                controller.terminate()
                controller.start()
                wait_until(shows(controller, everybody, key), "and again", 20)
            for proxy, (bootstrap, secret) in files.items():
                assert bootstrap.read_bytes() == bootstraps[proxy]
                wait_until(lambda at=secret: b"second" in at.read_bytes(), "token", 20)  # type: ignore[misc]
            assert placement(controller).items() >= before.items()
            assert not (controller.bootstraps / NEW / "bootstrap.json").exists()
        cut = {each: envoy.upstream_cx_total for each, envoy in mesh.envoys.items()}
        assert cut == streams
        assert all(envoy.connected_state for envoy in mesh.envoys.values())
        said = [line for line in controller.log().splitlines() if "ERROR" in line]
        assert sum(key in line for line in said) <= 3  # once, and by the restarted one

        cluster.call("DELETE", "/v1/config/proxy-defaults/global")
        controller.bootstrap(NEW, 20)
        wait_until(lambda: controller.status()["problems"] == {}, "all is well", 20)


def placement(controller: ControllerProcess) -> dict[str, Any]:
    """Return each proxy's VIP, and to what it is bound."""
    proxies = controller.status()["proxies"]
    return {each["id"]: (each["vip"], each["bound"]) for each in proxies}


def shows(
    controller: ControllerProcess, proxies: set[str], word: str
) -> Callable[[], bool]:
    """Return what says whether `status` names a problem of all of these."""

    def does() -> bool:
        problems = controller.status()["problems"]
        return all(word in "".join(problems.get(each, ())) for each in proxies)

    return does


def test_fault_83_ready_without_any_consul(tmp_path: Path) -> None:
    """systemd hears of it in seconds; `status` and the log say what is missing."""
    address = str(tmp_path / "notify")
    with (
        scratch_cgroup() as cgroup,
        scratch_bpffs() as bpffs,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd,
    ):
        systemd.bind(address)
        systemd.settimeout(10)
        config = {
            "consul": {
                "http_addresses": ["http://127.0.77.1:8500"],
                "tls": {"disabled": True},
            },
            "kernel": {"cgroup": str(cgroup), "bpffs": str(bpffs)},
            "proxies": [{"id": "web-1-sidecar-proxy", "node": "host1-virtual"}],
        }
        os.environ["NOTIFY_SOCKET"] = address
        try:
            begun = time.monotonic()
            with ControllerProcess(config) as controller:
                assert systemd.recv(1000) == b"READY=1"
                assert time.monotonic() - begun < 15  # two seconds, and the start
                assert b"missing: Consul has not answered" in systemd.recv(1000)
                (line,) = controller.status()["missing"]
                assert line.startswith("Consul has not answered yet: no server")
                assert controller.status()["kernel"]["attached"]
                assert line in controller.log()
                assert f"missing: {line}" in controller.run("status")
                controller.kill()
                assert controller.status()["missing"] == [line]
        finally:
            del os.environ["NOTIFY_SOCKET"]
