"""DNS as users have it: a controller, real Consul servers, and its commands."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dns.message
import dns.query
import dns.rcode
import pytest

from consul_ebpf.kernel.pins import Pins
from consul_ebpf.kernel.program import DNS
from tests.kernel.conftest import Kernel
from tests.lab.consul import ConsulCluster
from tests.lab.controller import ControllerProcess
from tests.lab.endpoint import ask
from tests.lab.processes import LabError, wait_until
from tests.lab.scratch import scratch_bpffs, scratch_cgroup

pytestmark = [pytest.mark.kernel, pytest.mark.consul]

VIP, PORT = "127.64.0.53", 53


@pytest.fixture(scope="module")
def cluster(consul_bin: Path) -> Iterator[ConsulCluster]:
    with ConsulCluster(consul_bin) as cluster:
        cluster.register_proxy("web", address="10.9.9.9")
        yield cluster


@pytest.fixture
def kernel() -> Iterator[Kernel]:
    with scratch_cgroup() as cgroup, scratch_bpffs() as bpffs:
        yield Kernel(cgroup, bpffs)


def config(cluster: ConsulCluster, kernel: Kernel, **dns_keys: Any) -> dict[str, Any]:
    return {
        "consul": {
            "http_addresses": cluster.http_addresses,
            "tls": {"disabled": True},
        },
        "kernel": {"cgroup": str(kernel.cgroup), "bpffs": str(kernel.bpffs)},
        "dns": {"enabled": True, **dns_keys},
    }


def asked(kernel: Kernel, ask: Callable[..., dns.message.Message]) -> str:
    """Ask for web's address through the VIP, in the cgroup; return what came."""

    def query() -> str:
        answer = ask(dns.message.make_query("web.service.consul.", "A"), VIP, timeout=2)
        return " ".join(str(rr) for rrset in answer.answer for rr in rrset)

    return kernel.call(query)


def answered(kernel: Kernel) -> bool:
    return asked(kernel, dns.query.udp) == "10.9.9.9"


def test_fault_151_a_mistake_costs_dns_alone(
    cluster: ConsulCluster, kernel: Kernel, tmp_path: Path
) -> None:
    """It is said by the log, `status` and `doctor`; a proxy is served."""
    wrong = config(cluster, kernel, vip="10.0.0.53", server_port=0)
    proxies = [{"id": "web-sidecar-proxy", "node": "host1-virtual"}]
    all_of_it = {**wrong, "bootstrap": {"directory": str(tmp_path)}, "proxies": proxies}
    with ControllerProcess(all_of_it) as controller:
        file = tmp_path / "web-sidecar-proxy" / "bootstrap.json"
        wait_until(file.exists, "the bootstrap")
        said = (
            "dns.server_port: 0 is not 1 to 65535; the usual one is 8600; dns.vip: 10"
        )
        assert f"DNS is not served: {said}" in controller.log()
        wait_until(lambda: said in str(controller.status()["missing"]), "it is missing")
        assert not Pins(kernel.bpffs, DNS).root.exists()
        with pytest.raises(LabError, match=f"FAIL DNS: not served: {said}"):
            controller.run("doctor")


def test_it_is_served_beside_the_proxies_and_goes_with_its_key(
    cluster: ConsulCluster, kernel: Kernel, tmp_path: Path
) -> None:
    """On, off, on, with the controller killed, and detached."""
    pins = Pins(kernel.bpffs, DNS)
    on = {**config(cluster, kernel), "bootstrap": {"directory": str(tmp_path)}}
    with ControllerProcess(on) as controller:
        wait_until(lambda: answered(kernel), "an answer")
        assert asked(kernel, dns.query.tcp) == "10.9.9.9"
        controller.kill()
        assert answered(kernel)
        controller.configure({**on, "dns": {"enabled": False}})
        controller.start()
        assert not pins.root.exists()
        assert f"dns.enabled is false: removed {pins.root}" in controller.log()
        with pytest.raises(OSError, match="refused"):
            asked(kernel, dns.query.tcp)
        controller.terminate()
        controller.configure(on)
        controller.start()
        wait_until(lambda: answered(kernel), "an answer")
        controller.terminate()
        controller.detach()
        assert list(kernel.bpffs.glob("consul-ebpf*")) == []


def metrics(controller: ControllerProcess) -> dict[str, float]:
    _, body = ask(controller.bootstraps / "api.sock", "GET", "/metrics")
    text = body if isinstance(body, str) else body.decode()
    lines = [line.rsplit(" ", 1) for line in text.splitlines() if line[0] != "#"]
    return {name: float(value) for name, value in lines}


def test_status_metrics_and_doctor_show_it(
    cluster: ConsulCluster, kernel: Kernel
) -> None:
    """With and without a controller, as far as it is in the kernel."""
    with ControllerProcess(config(cluster, kernel)) as controller:
        wait_until(lambda: answered(kernel), "an answer")
        for _ in range(30):
            assert answered(kernel)
        shown = controller.status()["dns"]
        assert (shown["vip"], shown["attached"]) == (f"{VIP}:{PORT}", True)
        assert shown["queries"] >= 31
        where = sorted((each["address"], each["port"]) for each in shown["servers"])
        assert where == [(address, 8600) for address in cluster.addresses]
        assert {each["state"] for each in shown["servers"]} == {"ready"}
        assert all(each["queries"] >= 5 for each in shown["servers"])
        assert f"DNS by {VIP}:{PORT}" in controller.run("status")
        found = metrics(controller)
        first = f'{{server="{cluster.addresses[0]}:8600"}}'
        assert found["consul_ebpf_dns_attached"] == 1
        assert found[f"consul_ebpf_dns_server_ready{first}"] == 1
        assert found[f"consul_ebpf_dns_server_queries_total{first}"] >= 5
        lines = controller.run("doctor").splitlines()  # it goes into the cgroup
        for address in cluster.addresses:
            said = (
                f"ok   DNS of server {address}:8600: NOERROR for consul.service.consul."
            )
            assert said in lines
        for way in ("UDP", "UDP, connected", "TCP"):
            assert f"ok   DNS by the VIP {VIP}:{PORT} ({way}): NOERROR" in lines
        assert any("adds no pod's token or tenancy" in line for line in lines)
        controller.kill()
        assert controller.status()["dns"]["attached"] is True
        assert controller.status()["dns"]["queries"] >= shown["queries"]


def test_fault_148_a_server_that_hangs_is_left_out(
    cluster: ConsulCluster, kernel: Kernel
) -> None:
    """By both services, each said in the log by its name."""
    with ControllerProcess(config(cluster, kernel)) as controller:
        wait_until(lambda: answered(kernel), "an answer")
        cluster.freeze(0)
        try:
            where = cluster.addresses[0]
            for said in (
                f"DNS: server server-0 ({where}:8600) is failing, was ready (no answer",
                f"server server-0 ({where}:8502) is failing, was ready (DEADLINE",
            ):
                wait_until(lambda s=said: s in controller.log(), said)  # type: ignore[misc]
            assert all(answered(kernel) for _ in range(20))
        finally:
            cluster.thaw(0)
