"""What other users of the host can cost a real controller by its endpoint: little."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.lab import endpoint
from tests.lab.consul import ConsulCluster
from tests.lab.controller import COMMAND
from tests.lab.forks import Forks
from tests.lab.mesh import Mesh

pytestmark = [pytest.mark.kernel, pytest.mark.consul, pytest.mark.envoy]

TICKS = os.sysconf("SC_CLK_TCK")

HOLDER = """if True:
    import os, resource, socket, sys
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
    path, count, again = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "again"
    uid = int(sys.argv[4])
    os.setgroups([]); os.setgid(uid); os.setuid(uid)
    def connect():
        while True:
            s = socket.socket(socket.AF_UNIX)
            s.settimeout(10)
            try:
                s.connect(path)
                return s
            except BlockingIOError:
                continue
    held = [connect() for _ in range(count)]
    print("held", flush=True)
    while again:
        held[0].close()
        held[0] = connect()
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def cluster(consul_bin: Path) -> Iterator[ConsulCluster]:
    with ConsulCluster(consul_bin, size=1) as cluster:
        for n in range(4):
            cluster.register_proxy(f"idle-{n}")
        yield cluster


@pytest.fixture(scope="module")
def mesh(cluster: ConsulCluster, envoy_bin: Path) -> Iterator[Mesh]:
    with Mesh(cluster, envoy_bin, proxies=3) as mesh:
        mesh.start_envoys(30)
        mesh.controller.bootstraps.parent.chmod(0o755)  # others must get there
        yield mesh


@contextmanager
def holding(mesh: Mesh, count: int, *, uid: int, again: bool) -> Iterator[None]:
    """Hold `count` connections as a user; `again`: and go on connecting."""
    path = str(mesh.controller.bootstraps / "api.sock")
    words = [path, str(count), "again" if again else "once", str(uid)]
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"held\n"
            yield
        finally:
            process.kill()


def timed(mesh: Mesh, method: str, path: str, body: Any = None) -> tuple[int, float]:
    """Ask as root; return HTTP's status and how many seconds that took."""
    begun = time.monotonic()
    at = mesh.controller.bootstraps / "api.sock"
    status, _ = endpoint.ask(at, method, path, body)
    return status, time.monotonic() - begun


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def rss_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def cpu_seconds(pid: int) -> float:
    """Return what a process and its children that ended have used of the CPU."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / TICKS


def family(pid: int) -> list[int]:
    """Return a process and its children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *map(int, children)]


@pytest.mark.parametrize(
    ("uid", "again"), [(65534, False), (65534, True), (0, False), (0, True)]
)
def test_fault_130_two_thousand_idle_connections(
    mesh: Mesh, uid: int, again: bool
) -> None:
    """Root is answered within a second; neither descriptors nor memory are taken."""
    pid = mesh.controller.child.pid
    timed(mesh, "GET", "/v1/status")
    files, memory = descriptors(pid), rss_mb(pid)
    with holding(mesh, 2000, uid=uid, again=again):
        slowest = 0.0
        for n in range(10):
            for method, path, body, expected in (
                ("GET", "/v1/status", None, 200),
                ("PUT", f"/v1/proxies/late-{n}", {"node": "host1-virtual"}, 201),
                ("DELETE", f"/v1/proxies/late-{n}", None, 204),
            ):
                status, seconds = timed(mesh, method, path, body)
                assert expected == status
                slowest = max(slowest, seconds)
        more, grown = descriptors(pid) - files, rss_mb(pid) - memory
        mesh.controller.run("wait", "--proxy", "web-1-sidecar-proxy", "--timeout", "5")
        assert mesh.controller.status()["controller"]["running"]
    print(f"slowest {slowest:.2f} s, {more} more descriptors, {grown:.1f} MB more")
    assert slowest < 1.0
    assert more < (200 if uid else 450)
    assert grown < 24
    log = mesh.controller.log()
    assert "Traceback" not in log
    assert " ERROR " not in log


def test_fault_131_the_status_costs_no_process(mesh: Mesh) -> None:
    """A hundred questions at once, metrics too: nobody forks, little is computed."""
    pid = mesh.controller.child.pid
    timed(mesh, "GET", "/metrics")
    relatives = family(pid)
    before = cpu_seconds(pid)
    with Forks() as forks, ThreadPoolExecutor(8) as pool:
        asked = [
            pool.submit(timed, mesh, "GET", path)
            for path in ("/v1/status", "/metrics", "/v1/proxies") * 100
        ]
        assert {200} == {each.result()[0] for each in asked}
    used = cpu_seconds(pid) - before
    print(f"300 answers: {used:.2f} s of CPU")
    assert 0 == sum(forks.of[each] for each in relatives)
    assert used < 1.5


def test_fault_131_waiting_costs_no_process(mesh: Mesh) -> None:
    """Fifty that wait for a proxy that does not connect."""
    at = mesh.controller.bootstraps / "api.sock"
    path = "/v1/proxies/not-there?wait=connected&timeout=3"
    pid = mesh.controller.child.pid
    relatives = family(pid)
    before = cpu_seconds(pid)
    with Forks() as forks, ThreadPoolExecutor(50) as pool:
        asked = [pool.submit(endpoint.ask, at, "GET", path) for _ in range(50)]
        assert {504} == {each.result()[0] for each in asked}
    assert 0 == sum(forks.of[each] for each in relatives)
    assert cpu_seconds(pid) - before < 1.5


def test_fault_129_a_file_at_the_sockets_path_is_left(
    mesh: Mesh, tmp_path: Path
) -> None:
    """The controller ends with 2 in one line, before it attaches anything."""
    path = tmp_path / "api.sock"
    path.write_text("precious")
    controller = mesh.controller
    for setting, code in (
        (f"api.socket={path}", 2),
        (f"api.socket={controller.bootstraps / 'api.sock'}", 4),
        ("api.listen=localhost:9102", 2),
        ('api.users=["²"]', 2),
    ):
        config = str(controller.bootstraps.parent / "config.toml")
        done = subprocess.run(
            [*COMMAND, "run", "--config", config, "--set", setting],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert code == done.returncode, done.stderr
        assert done.stderr.splitlines()[-1].startswith("consul-ebpf: ")
        assert "Traceback" not in done.stderr
        assert not done.stdout
    assert "precious" == path.read_text()
    assert 200 == timed(mesh, "GET", "/v1/status")[0]


def test_nonsense_is_not_in_the_log(mesh: Mesh) -> None:
    """Of a controller that logs at its usual level."""
    before = mesh.controller.log()
    for nonsense in (b"\x16\x03\x01\0\xa5\r\n\r\n", b"GET /\r\n", os.urandom(300)):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(mesh.controller.bootstraps / "api.sock"))
            client.sendall(nonsense)
            client.shutdown(socket.SHUT_WR)
            client.settimeout(5)
            with suppress(ConnectionError):
                client.recv(4096)
    assert 200 == timed(mesh, "GET", "/v1/health")[0]
    assert before == mesh.controller.log()
