"""Every file in examples/ runs for real and prints what it is there to show."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.lab.consul import ConsulCluster
from tests.lab.controller import toml
from tests.lab.processes import Child, wait_until
from tests.lab.scratch import scratch_bpffs, scratch_cgroup

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"

# As one would run it in an environment that the project is installed in.
ENV = {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}


@pytest.fixture(scope="module")
def cluster(consul_bin: Path) -> Iterator[ConsulCluster]:
    with ConsulCluster(consul_bin, size=1) as cluster:
        yield cluster


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Child]]:
    """Starts an example; it is killed at the end of the test."""
    with ExitStack() as stack:

        def start_(name: str, *args: str, **env: str) -> Child:
            argv = [sys.executable, str(EXAMPLES / name), *args]
            child = Child(name, argv, tmp_path, env={**ENV, **env})
            stack.callback(child.kill)
            return child

        yield start_


@pytest.fixture
def config(cluster: ConsulCluster, tmp_path: Path) -> Iterator[Path]:
    """A whole configuration with one proxy, in places of its own."""
    with scratch_cgroup() as cgroup, scratch_bpffs() as bpffs:
        tables = {
            "consul": {
                "http_addresses": cluster.http_addresses,
                "tls": {"disabled": True},
            },
            "kernel": {"cgroup": str(cgroup), "bpffs": str(bpffs)},
            "bootstrap": {"directory": str(tmp_path / "run")},
            "proxies": [{"id": "web-1-sidecar-proxy", "node": "host1"}],
        }
        path = tmp_path / "config.toml"
        path.write_text(toml(tables))
        yield path


def prints(child: Child, text: str) -> None:
    """Wait until the example has printed `text`."""

    def printed() -> bool:
        if text in child.stdout.read_text():
            return True
        child.must_run()
        return False

    wait_until(printed, f"{child.name} prints {text}")


@pytest.mark.consul
def test_server_pool(cluster: ConsulCluster, start: Callable[..., Child]) -> None:
    """It prints every server with its state, by gRPC port."""
    child = start("server_pool.py", CONSUL_HTTP_ADDR=cluster.http_addresses[0])
    prints(child, f"{cluster.grpc_endpoints[0]} ready\n")


@pytest.mark.kernel
def test_map_backend(tmp_path: Path) -> None:
    """A VIP leads to the first choice, a retry to the second; then all is removed."""
    with scratch_cgroup() as cgroup, scratch_bpffs() as bpffs:
        name = "map_backend.py"
        argv = [sys.executable, str(EXAMPLES / name), str(cgroup), str(bpffs)]
        child = Child(name, argv, tmp_path, cgroup=cgroup, env=ENV)
        try:
            assert child.wait(60) == 0, child.last_words()
        finally:
            child.kill()
        assert list(bpffs.glob("consul-ebpf*")) == []
    said = child.stdout.read_text()
    listed = re.findall(r"slot \d is 127\.0\.0\.1:(\d+)", said)
    assert len(listed) == 2
    assert re.findall(r"127\.127\.0\.1:8502 led to port (\d+)", said) == listed
    assert "Applied(servers=2, vips_put=1, vips_removed=0)" in said


@pytest.mark.kernel
@pytest.mark.consul
def test_run_everything(
    config: Path, tmp_path: Path, start: Callable[..., Child]
) -> None:
    """It programs the configured proxy and writes its bootstrap."""
    child = start("run_everything.py", str(config))
    prints(child, "Converged(servers=1, proxies=1, refused=0, complete=True)\n")
    assert (tmp_path / "run/web-1-sidecar-proxy/bootstrap.json").exists()


@pytest.mark.kernel
@pytest.mark.consul
def test_custom_workload_source(
    config: Path, tmp_path: Path, start: Callable[..., Child]
) -> None:
    """A file that appears is a proxy; one that goes takes its bootstrap along."""
    namespaces = tmp_path / "netns"
    namespaces.mkdir()
    (namespaces / "pod-1").touch()
    child = start("custom_workload_source.py", str(config), str(namespaces))
    prints(child, "Converged(servers=1, proxies=1, refused=0, complete=True)\n")

    (namespaces / "pod-2").touch()
    prints(child, "Converged(servers=1, proxies=2, refused=0, complete=True)\n")
    assert (tmp_path / "run/pod-2/bootstrap.json").exists()

    (namespaces / "pod-1").unlink()
    wait_until(lambda: not (tmp_path / "run/pod-1").exists(), "pod-1 is forgotten")


@pytest.mark.kernel
@pytest.mark.consul
def test_late_identity(
    config: Path, tmp_path: Path, start: Callable[..., Child]
) -> None:
    """A VIP at once; with the id the same one, and files in the pod, of its user."""
    pod = tmp_path / "pods" / "uid-1"
    pod.mkdir(parents=True)
    child = start("late_identity.py", str(config), str(pod.parent), "65534")
    prints(child, "{'uid-1': 'no bootstrap yet: Consul does not know it yet (no id)'}")
    vips = tmp_path / "run" / "vips.json"
    before = vips.read_text()
    assert not (pod / "consul" / "bootstrap.json").exists()

    (pod / "id").write_text("web-1-sidecar-proxy\n")
    prints(child, "Converged(servers=1, proxies=1, refused=0, complete=True) {}\n")
    bootstrap = pod / "consul" / "bootstrap.json"
    assert json.loads(bootstrap.read_text())["node"]["id"] == "web-1-sidecar-proxy"
    assert (bootstrap.stat().st_uid, bootstrap.stat().st_gid) == (65534, 65534)
    assert vips.read_text() == before
    assert not (tmp_path / "run" / "uid-1").exists()

    shutil.rmtree(pod)
    elsewhere = tmp_path / "run" / "elsewhere.json"
    wait_until(lambda: "uid-1" not in elsewhere.read_text(), "the pod is forgotten")


@pytest.mark.kernel
@pytest.mark.consul
@pytest.mark.envoy
def test_demo(consul_bin: Path, envoy_bin: Path) -> None:
    """The whole story happens, and nothing of it stays."""
    told = subprocess.run(
        [sys.executable, "-m", "examples.demo"],
        cwd=ROOT,
        env={**os.environ, "CONSUL_BIN": str(consul_bin), "ENVOY_BIN": str(envoy_bin)},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert told.returncode == 0, told.stdout + told.stderr
    assert "All of it happened." in told.stdout


def test_every_example_is_run() -> None:
    """An example without a test here would rot."""
    tests = {name.removeprefix("test_") for name in globals()}
    assert {path.stem for path in EXAMPLES.glob("*.py")} <= tests
