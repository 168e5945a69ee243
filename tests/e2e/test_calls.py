"""What a controller and its helper ask of the kernel: counted, on however busy a host.

With 40 proxies, so that what is done for each of them shows. The bounds of a rest are
half as much again as there was: a timer or a call for each proxy every second, a look
at each one's row, or at its files twice as often, is more than that.
"""

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.calls import Calls, map_writes
from tests.lab.consul import ConsulCluster
from tests.lab.controller import ControllerProcess
from tests.lab.go_build import PartMissingError
from tests.lab.processes import wait_until, with_children
from tests.lab.scratch import scratch_bpffs, scratch_cgroup

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.consul,
    pytest.mark.slow,
    pytest.mark.timeout(180),
]

PROXIES = 40
SETTLE_SECONDS = 5.0
REST_SECONDS = 10.0
"""Five upkeeps, two looks at each proxy's files."""
KINDS = {
    "of threads": (300, ("futex",)),
    "waits": (95, ("epoll_wait", "epoll_pwait", "poll", "ppoll", "clock_nanosleep")),
    "looks at files": (145, ("newfstatat", "fstat", "stat", "lstat", "statx")),
    "opens files": (5, ("open", "openat", "openat2", "getdents64")),
    "network": (40, ("recvfrom", "recvmsg", "sendto", "sendmsg", "connect")),
}
"""How many a second of which calls a rest has at most."""
BPF, OTHERS = 13, 120
"""Likewise, of bpf(2) and of all the rest."""
FILES = 8
"""Renamed for one more proxy: its own, and what the host remembers."""


@pytest.fixture
def drop_ins(tmp_path: Path) -> Path:
    (directory := tmp_path / "drop-ins").mkdir()
    return directory


@pytest.fixture
def cluster(consul_bin: Path) -> Iterator[ConsulCluster]:
    # A dead server stays in the catalog: else it leaves the plans of all proxies.
    autopilot = {"autopilot": {"cleanup_dead_servers": False}}
    with ConsulCluster(consul_bin, config=autopilot) as cluster:
        yield cluster


@pytest.fixture
def controller(cluster: ConsulCluster, drop_ins: Path) -> Iterator[ControllerProcess]:
    for n in range(PROXIES):
        add_proxy(cluster, drop_ins, n)
    with scratch_bpffs() as bpffs, scratch_cgroup() as cgroup:
        config = {
            "consul": {
                "http_addresses": cluster.http_addresses,
                "tls": {"disabled": True},
            },
            "kernel": {"cgroup": str(cgroup), "bpffs": str(bpffs)},
            "workloads": {"directory": str(drop_ins)},
        }
        with ControllerProcess(config) as controller:
            for n in range(PROXIES):
                controller.bootstrap(f"web-{n}-sidecar-proxy", 30)
            yield controller


@pytest.fixture
def calls(controller: ControllerProcess) -> Iterator[Calls]:
    """Those of the controller and its helper."""
    try:
        with Calls(with_children(controller.child.pid)) as calls:
            yield calls
    except PartMissingError as error:
        pytest.skip(str(error))


def test_a_rest_writes_no_row_and_a_change_writes_one(
    cluster: ConsulCluster, controller: ControllerProcess, drop_ins: Path, calls: Calls
) -> None:
    """Whatever the number of proxies: 10 s of nothing, a proxy comes, a server dies."""
    time.sleep(SETTLE_SECONDS)
    calls.take()
    time.sleep(REST_SECONDS)
    rest = calls.take()
    print("in rest", dict(rest.most_common()))
    assert 0 == map_writes(rest)
    assert {} == beyond_bounds(rest, REST_SECONDS)

    add_proxy(cluster, drop_ins, PROXIES)
    controller.bootstrap(f"web-{PROXIES}-sidecar-proxy")
    time.sleep(SETTLE_SECONDS)
    more = calls.take()
    print("one more proxy", dict(more.most_common()))
    assert 1 == map_writes(more)
    assert renames(more) <= FILES

    cluster.kill(0)
    wait_until(lambda: "is failing, was ready" in controller.log(), "it is failing")
    time.sleep(SETTLE_SECONDS)
    death = calls.take()
    print("a server dies", dict(death.most_common()))
    assert 1 == map_writes(death)
    assert renames(death) <= FILES


def beyond_bounds(counted: Counter[str], seconds: float) -> dict[str, float]:
    """Return the calls a second of each kind that has more than it may have."""
    kinds = {name: kind for kind, (_, names) in KINDS.items() for name in names}
    most: dict[str, float] = {kind: each for kind, (each, _) in KINDS.items()}
    most |= {"bpf": BPF, "others": OTHERS}
    found: Counter[str] = Counter()
    for name, count in counted.items():
        default = "bpf" if name.startswith("BPF_") else "others"
        found[kinds.get(name, default)] += count
    rates = {kind: count / seconds for kind, count in found.items()}
    print({kind: round(rate, 1) for kind, rate in rates.items()})
    return {kind: rate for kind, rate in rates.items() if rate > most[kind]}


def renames(counted: Counter[str]) -> int:
    """Return how many files were replaced."""
    return sum(counted[name] for name in ("rename", "renameat", "renameat2"))


def add_proxy(cluster: ConsulCluster, drop_ins: Path, n: int) -> None:
    """Register one, and name it to the controller."""
    proxy = cluster.register_proxy(f"web-{n}")
    written = drop_ins / "new"
    written.write_text(f'[[proxies]]\nid = "{proxy}"\nnode = "host1-virtual"\n')
    written.rename(drop_ins / f"{n}.toml")
